import AVFoundation
import Foundation
import MobilemodCore

/// The capture session behind `CameraFeed`.
final class Capture: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
    let session = AVCaptureSession()
    private let output = AVCaptureVideoDataOutput()
    // Starting and stopping block, which neither the main thread nor the classifier may.
    private let control = DispatchQueue(label: "io.mobilemod.camera")
    private let frames: DispatchQueue
    private let onFrame: @Sendable (PixelImage) -> Void
    // Of `control` alone.
    private var input: AVCaptureDeviceInput?
    private var angle = 90.0
    // Of the main thread alone.
    private weak var layer: AVCaptureVideoPreviewLayer?
    private var coordinator: AVCaptureDevice.RotationCoordinator?
    private var observation: NSKeyValueObservation?

    init(frames: DispatchQueue, onFrame: @escaping @Sendable (PixelImage) -> Void) {
        self.frames = frames
        self.onFrame = onFrame
    }

    static func camera(_ position: AVCaptureDevice.Position) -> AVCaptureDevice? {
        AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: position)
    }

    /// Starts the camera at a position; the other, where there is none. The position that runs. Throws
    /// `BadInput` where no camera can be used.
    func start(_ wanted: AVCaptureDevice.Position) async throws -> AVCaptureDevice.Position {
        let camera: AVCaptureDevice = try await withCheckedThrowingContinuation { continuation in
            control.async {
                continuation.resume(with: Result {
                    let camera = try self.use(wanted)
                    if !self.session.isRunning { self.session.startRunning() }
                    return camera
                })
            }
        }
        await turnUpright(camera)
        return camera.position
    }

    func stop() {
        control.async {
            if self.session.isRunning { self.session.stopRunning() }
        }
    }

    private func use(_ wanted: AVCaptureDevice.Position) throws -> AVCaptureDevice {
        let other: AVCaptureDevice.Position = wanted == .back ? .front : .back
        guard let camera = Capture.camera(wanted) ?? Capture.camera(other) else { throw BadInput("No camera here.") }
        if let input, input.device == camera { return camera }
        let next = try AVCaptureDeviceInput(device: camera)
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        let before = input
        if let before { session.removeInput(before) }
        guard session.canAddInput(next) else {
            if let before { session.addInput(before) }
            throw BadInput("The camera can't be used.")
        }
        session.addInput(next)
        input = next
        if before == nil {
            // Three times the networks' inputs: enough for antialiased shrinking, quick to copy.
            if session.canSetSessionPreset(.vga640x480) { session.sessionPreset = .vga640x480 }
            guard session.canAddOutput(output) else { throw BadInput("The camera gives no frames.") }
            output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
            output.alwaysDiscardsLateVideoFrames = true
            output.setSampleBufferDelegate(self, queue: frames)
            session.addOutput(output)
        }
        turnOutput()
        return camera
    }

    // MARK: Upright

    /// The layer that shows the session; frames are turned as it is.
    @MainActor func show(on layer: AVCaptureVideoPreviewLayer) {
        self.layer = layer
        control.async {
            if let camera = self.input?.device { Task { await self.turnUpright(camera) } }
        }
    }

    @MainActor private func turnUpright(_ camera: AVCaptureDevice) {
        let coordinator = AVCaptureDevice.RotationCoordinator(device: camera, previewLayer: layer)
        self.coordinator = coordinator
        observation = coordinator.observe(
            \.videoRotationAngleForHorizonLevelPreview, options: [.initial, .new]
        ) { [weak self] coordinator, _ in
            let angle = coordinator.videoRotationAngleForHorizonLevelPreview
            Task { @MainActor in self?.turn(angle) }
        }
    }

    @MainActor private func turn(_ angle: Double) {
        if let connection = layer?.connection, connection.isVideoRotationAngleSupported(angle) {
            connection.videoRotationAngle = angle
        }
        control.async {
            self.angle = angle
            self.turnOutput()
        }
    }

    private func turnOutput() {
        guard let connection = output.connection(with: .video) else { return }
        if connection.isVideoRotationAngleSupported(angle) { connection.videoRotationAngle = angle }
        // The preview shows the front camera as a mirror does; a map over it has to lie as it does.
        if connection.isVideoMirroringSupported {
            connection.automaticallyAdjustsVideoMirroring = false
            connection.isVideoMirrored = input?.device.position == .front
        }
    }

    // MARK: Focus

    /// Focuses at a point of the picture, both coordinates 0…1 in the camera's own axes.
    func focus(at point: CGPoint) {
        control.async {
            guard let camera = self.input?.device, camera.isFocusPointOfInterestSupported,
                  camera.isFocusModeSupported(.autoFocus), (try? camera.lockForConfiguration()) != nil
            else { return }
            camera.focusPointOfInterest = point
            camera.focusMode = .autoFocus
            camera.unlockForConfiguration()
        }
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let buffer = CMSampleBufferGetImageBuffer(sampleBuffer), let pixels = try? PixelBuffers.pixels(buffer)
        else { return }
        onFrame(pixels)
    }
}
