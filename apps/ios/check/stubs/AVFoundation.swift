@_exported import CoreVideo
import Foundation

// = CALayer
open class CALayer: NSObject {}

// swift
public class CMSampleBuffer {}
// = CMSampleBufferGetImageBuffer
public func CMSampleBufferGetImageBuffer(_ buffer: CMSampleBuffer) -> CVImageBuffer? { nil }

// = AVMediaTypeVideo
public struct AVMediaType: Sendable { public static let video = AVMediaType() }
// = AVLayerVideoGravityResizeAspectFill
public struct AVLayerVideoGravity: Sendable { public static let resizeAspectFill = AVLayerVideoGravity() }
// = AVAuthorizationStatus.NotDetermined, AVAuthorizationStatus.Restricted, AVAuthorizationStatus.Denied, AVAuthorizationStatus.Authorized
public enum AVAuthorizationStatus: Int { case notDetermined, restricted, denied, authorized }

// swift
public class NSKeyValueObservation {}
// = NSKeyValueObservingOptions.New, NSKeyValueObservingOptions.Initial
public struct NSKeyValueObservingOptions: OptionSet, Sendable {
    // swift
    public let rawValue: UInt
    // swift
    public init(rawValue: UInt) { self.rawValue = rawValue }
    // = NSKeyValueObservingOptions.New
    public static let new = NSKeyValueObservingOptions(rawValue: 1)
    // = NSKeyValueObservingOptions.Initial
    public static let initial = NSKeyValueObservingOptions(rawValue: 4)
}
// = AVCaptureSessionErrorKey
public let AVCaptureSessionErrorKey = ""

// = AVCaptureDevice
public class AVCaptureDevice: NSObject, @unchecked Sendable {
    // = AVCaptureDeviceTypeBuiltInWideAngleCamera
    public struct DeviceType: Sendable { public static let builtInWideAngleCamera = DeviceType() }
    // = AVCaptureDevicePosition.Unspecified, AVCaptureDevicePosition.Back, AVCaptureDevicePosition.Front
    public enum Position: Int, Sendable { case unspecified = 0, back = 1, front = 2 }
    // = AVCaptureFocusMode.AutoFocus
    public enum FocusMode: Int { case autoFocus = 1 }
    // = AVCaptureDevice.position
    public var position: Position { .back }
    // = AVCaptureDevice.focusPointOfInterestSupported
    public var isFocusPointOfInterestSupported: Bool { false }
    // = AVCaptureDevice.isFocusModeSupported
    public func isFocusModeSupported(_ mode: FocusMode) -> Bool { false }
    // = AVCaptureDevice.focusPointOfInterest
    public var focusPointOfInterest: CGPoint { get { fatalError() } set {} }
    // = AVCaptureDevice.focusMode
    public var focusMode: FocusMode { get { .autoFocus } set {} }
    // = AVCaptureDevice.lockForConfiguration
    public func lockForConfiguration() throws {}
    // = AVCaptureDevice.unlockForConfiguration
    public func unlockForConfiguration() {}
    // = AVCaptureDeviceRotationCoordinator
    public class RotationCoordinator: NSObject, @unchecked Sendable {
        // = AVCaptureDeviceRotationCoordinator.initWithDevicePreviewLayer
        public init(device: AVCaptureDevice, previewLayer: CALayer?) {}
        // = AVCaptureDeviceRotationCoordinator.videoRotationAngleForHorizonLevelPreview
        public var videoRotationAngleForHorizonLevelPreview: Double { 0 }
        // Foundation's key-value observing, which Linux has not.
        // swift
        public func observe<Value>(
            _ path: KeyPath<RotationCoordinator, Value>, options: NSKeyValueObservingOptions,
            changeHandler: @escaping @Sendable (RotationCoordinator, Any) -> Void
        ) -> NSKeyValueObservation { fatalError() }
    }
    // = AVCaptureDevice.defaultDeviceWithDeviceTypeMediaTypePosition
    public class func `default`(
        _ type: DeviceType, for media: AVMediaType?, position: Position
    ) -> AVCaptureDevice? { nil }
    // = AVCaptureDevice.authorizationStatusForMediaType
    public class func authorizationStatus(for media: AVMediaType) -> AVAuthorizationStatus { fatalError() }
    // = AVCaptureDevice.requestAccessForMediaTypeCompletionHandler
    public class func requestAccess(for media: AVMediaType) async -> Bool { false }
}

// = AVCaptureInput
public class AVCaptureInput: NSObject {}
// = AVCaptureDeviceInput
public class AVCaptureDeviceInput: AVCaptureInput {
    // = AVCaptureDeviceInput.deviceInputWithDeviceError
    public init(device: AVCaptureDevice) throws {}
    // = AVCaptureDeviceInput.device
    public var device: AVCaptureDevice { fatalError() }
}

// = AVCaptureConnection
public class AVCaptureConnection: NSObject {
    // = AVCaptureConnection.isVideoRotationAngleSupported
    public func isVideoRotationAngleSupported(_ angle: Double) -> Bool { false }
    // = AVCaptureConnection.supportsVideoMirroring
    public var isVideoMirroringSupported: Bool { false }
    // = AVCaptureConnection.videoMirrored
    public var isVideoMirrored: Bool { get { false } set {} }
    // = AVCaptureConnection.automaticallyAdjustsVideoMirroring
    public var automaticallyAdjustsVideoMirroring: Bool { get { false } set {} }
    // = AVCaptureConnection.videoRotationAngle
    public var videoRotationAngle: Double { get { 0 } set {} }
}

// = AVCaptureOutput
public class AVCaptureOutput: NSObject {
    // = AVCaptureOutput.connectionWithMediaType
    public func connection(with media: AVMediaType) -> AVCaptureConnection? { nil }
}

// = AVCaptureVideoDataOutput
public class AVCaptureVideoDataOutput: AVCaptureOutput {
    // swift
    public override init() {}
    // = AVCaptureVideoDataOutput.videoSettings
    public var videoSettings: [String: Any]! { get { nil } set {} }
    // = AVCaptureVideoDataOutput.alwaysDiscardsLateVideoFrames
    public var alwaysDiscardsLateVideoFrames: Bool { get { true } set {} }
    // = AVCaptureVideoDataOutput.setSampleBufferDelegateQueue
    public func setSampleBufferDelegate(
        _ delegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?, queue: DispatchQueue?
    ) {}
}

// = AVCaptureVideoDataOutputSampleBufferDelegate.captureOutputDidOutputSampleBufferFromConnection
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: AnyObject {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    )
}

// = AVCaptureSession
public class AVCaptureSession: NSObject, @unchecked Sendable {
    // = AVCaptureSessionPreset640x480
    public struct Preset: Sendable { public static let vga640x480 = Preset() }
    // swift
    public override init() {}
    // = AVCaptureSession.running
    public var isRunning: Bool { false }
    // = AVCaptureSession.startRunning
    public func startRunning() {}
    // = AVCaptureSession.stopRunning
    public func stopRunning() {}
    // = AVCaptureSession.beginConfiguration
    public func beginConfiguration() {}
    // = AVCaptureSession.commitConfiguration
    public func commitConfiguration() {}
    // = AVCaptureSession.canSetSessionPreset
    public func canSetSessionPreset(_ preset: Preset) -> Bool { false }
    // = AVCaptureSession.sessionPreset
    public var sessionPreset: Preset { get { fatalError() } set {} }
    // = AVCaptureSession.canAddInput
    public func canAddInput(_ input: AVCaptureInput) -> Bool { false }
    // = AVCaptureSession.canAddOutput
    public func canAddOutput(_ output: AVCaptureOutput) -> Bool { false }
    // = AVCaptureSessionRuntimeErrorNotification
    public class var runtimeErrorNotification: NSNotification.Name { fatalError() }
    // = AVCaptureSessionWasInterruptedNotification
    public class var wasInterruptedNotification: NSNotification.Name { fatalError() }
    // = AVCaptureSessionInterruptionEndedNotification
    public class var interruptionEndedNotification: NSNotification.Name { fatalError() }
    // = AVCaptureSession.removeInput
    public func removeInput(_ input: AVCaptureInput) {}
    // = AVCaptureSession.addInput
    public func addInput(_ input: AVCaptureInput) {}
    // = AVCaptureSession.addOutput
    public func addOutput(_ output: AVCaptureOutput) {}
}

// = AVCaptureVideoPreviewLayer
public class AVCaptureVideoPreviewLayer: CALayer {
    // = AVCaptureVideoPreviewLayer.connection
    public var connection: AVCaptureConnection? { nil }
    // = AVCaptureVideoPreviewLayer.captureDevicePointOfInterestForPoint
    public func captureDevicePointConverted(fromLayerPoint point: CGPoint) -> CGPoint { point }
    // = AVCaptureVideoPreviewLayer.session
    public var session: AVCaptureSession? { get { nil } set {} }
    // = AVCaptureVideoPreviewLayer.videoGravity
    public var videoGravity: AVLayerVideoGravity { get { fatalError() } set {} }
}
