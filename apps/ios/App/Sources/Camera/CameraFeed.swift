import AVFoundation
import Foundation
import MobilemodCore
import Observation

/// The back or front camera: upright frames on the classifier's queue, late ones dropped. What keeps it from
/// giving frames is said in `trouble`.
@MainActor @Observable
final class CameraFeed {
    enum Access {
        case allowed, denied, noCamera
    }

    /// Why there are no frames now; nil where they come.
    private(set) var trouble: String?
    private(set) var position: AVCaptureDevice.Position = .back
    @ObservationIgnored let capture: Capture
    @ObservationIgnored private var isWanted = false

    /// frames: the queue that `onFrame` is called on.
    init(frames: DispatchQueue, onFrame: @escaping @Sendable (PixelImage) -> Void) {
        capture = Capture(frames: frames, onFrame: onFrame)
        watch()
    }

    /// Asks for permission where it wasn't asked yet.
    static func access() async -> Access {
        guard [.back, .front].contains(where: { Capture.camera($0) != nil }) else { return .noCamera }
        switch AVCaptureDevice.authorizationStatus(for: .video) {
        case .authorized: return .allowed
        case .notDetermined: return await AVCaptureDevice.requestAccess(for: .video) ? .allowed : .denied
        default: return .denied
        }
    }

    func start() {
        isWanted = true
        run(position)
    }

    func stop() {
        isWanted = false
        capture.stop()
    }

    /// From the back camera to the front one, or back.
    func turn() {
        run(position == .back ? .front : .back)
    }

    /// Starts again after what stopped it is over.
    func resume() {
        if isWanted { run(position) }
    }

    private func run(_ wanted: AVCaptureDevice.Position) {
        Task {
            do {
                position = try await capture.start(wanted)
                trouble = nil
            } catch {
                trouble = error.localizedDescription
            }
        }
    }

    private func watch() {
        let center = NotificationCenter.default
        func on(_ name: Notification.Name, _ act: @escaping @MainActor @Sendable (CameraFeed, String?) -> Void) {
            _ = center.addObserver(forName: name, object: capture.session, queue: .main) { [weak self] note in
                let error = (note.userInfo?[AVCaptureSessionErrorKey] as? NSError)?.localizedDescription
                MainActor.assumeIsolated {
                    if let self { act(self, error) }
                }
            }
        }
        on(AVCaptureSession.wasInterruptedNotification) { feed, _ in
            feed.trouble = "Another app or a call has the camera; it goes on by itself."
        }
        on(AVCaptureSession.interruptionEndedNotification) { feed, _ in feed.resume() }
        on(AVCaptureSession.runtimeErrorNotification) { feed, error in
            feed.trouble = "The camera stopped: \(error ?? "unknown error")"
        }
    }
}
