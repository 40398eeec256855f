import AVFoundation
import Foundation
import MobilemodCore

/// The back camera: upright frames on the classifier's queue, late ones dropped.
final class CameraFeed: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
    enum Access {
        case allowed, denied, noCamera
    }

    let session = AVCaptureSession()
    private let output = AVCaptureVideoDataOutput()
    // Starting and stopping block, which neither the main thread nor the classifier may.
    private let control = DispatchQueue(label: "io.mobilemod.camera")
    private let frames: DispatchQueue
    private var isSetUp = false
    /// Called on the frames' queue.
    var onFrame: (@Sendable (PixelImage) -> Void)?

    init(frames: DispatchQueue) {
        self.frames = frames
    }

    /// Asks for permission where it wasn't asked yet.
    static func access() async -> Access {
        guard AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back) != nil else {
            return .noCamera
        }
        switch AVCaptureDevice.authorizationStatus(for: .video) {
        case .authorized: return .allowed
        case .notDetermined: return await AVCaptureDevice.requestAccess(for: .video) ? .allowed : .denied
        default: return .denied
        }
    }

    func start() {
        control.async {
            self.setUp()
            if self.isSetUp, !self.session.isRunning { self.session.startRunning() }
        }
    }

    func stop() {
        control.async {
            if self.session.isRunning { self.session.stopRunning() }
        }
    }

    private func setUp() {
        guard !isSetUp,
              let camera = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back),
              let input = try? AVCaptureDeviceInput(device: camera)
        else { return }
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        // Three times the networks' inputs: enough for antialiased shrinking, quick to copy.
        if session.canSetSessionPreset(.vga640x480) { session.sessionPreset = .vga640x480 }
        guard session.canAddInput(input), session.canAddOutput(output) else { return }
        session.addInput(input)
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: frames)
        session.addOutput(output)
        if let connection = output.connection(with: .video), connection.isVideoRotationAngleSupported(90) {
            connection.videoRotationAngle = 90
        }
        isSetUp = true
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let buffer = CMSampleBufferGetImageBuffer(sampleBuffer), let onFrame,
              let pixels = try? PixelBuffers.pixels(buffer)
        else { return }
        onFrame(pixels)
    }
}
