import AVFoundation
import SwiftUI
import UIKit

/// What the camera sees; a tap focuses there.
struct CameraPreview: UIViewRepresentable {
    let capture: Capture

    func makeUIView(context: Context) -> PreviewView {
        let view = PreviewView()
        view.capture = capture
        view.previewLayer.session = capture.session
        view.previewLayer.videoGravity = .resizeAspectFill
        capture.show(on: view.previewLayer)
        return view
    }

    func updateUIView(_ view: PreviewView, context: Context) {}

    final class PreviewView: UIView {
        var capture: Capture?

        override class var layerClass: AnyClass { AVCaptureVideoPreviewLayer.self }

        var previewLayer: AVCaptureVideoPreviewLayer {
            // layerClass makes it so.
            layer as! AVCaptureVideoPreviewLayer
        }

        override func touchesEnded(_ touches: Set<UITouch>, with event: UIEvent?) {
            guard let point = touches.first?.location(in: self) else { return }
            capture?.focus(at: previewLayer.captureDevicePointConverted(fromLayerPoint: point))
        }
    }
}
