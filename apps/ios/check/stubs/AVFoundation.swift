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

// = AVCaptureDevice
public class AVCaptureDevice: NSObject {
    // = AVCaptureDeviceTypeBuiltInWideAngleCamera
    public struct DeviceType: Sendable { public static let builtInWideAngleCamera = DeviceType() }
    // = AVCaptureDevicePosition.Back
    public enum Position: Int { case back = 1 }
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
}

// = AVCaptureConnection
public class AVCaptureConnection: NSObject {
    // = AVCaptureConnection.isVideoRotationAngleSupported
    public func isVideoRotationAngleSupported(_ angle: Double) -> Bool { false }
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
    // = AVCaptureSession.addInput
    public func addInput(_ input: AVCaptureInput) {}
    // = AVCaptureSession.addOutput
    public func addOutput(_ output: AVCaptureOutput) {}
}

// = AVCaptureVideoPreviewLayer
public class AVCaptureVideoPreviewLayer: CALayer {
    // = AVCaptureVideoPreviewLayer.session
    public var session: AVCaptureSession? { get { nil } set {} }
    // = AVCaptureVideoPreviewLayer.videoGravity
    public var videoGravity: AVLayerVideoGravity { get { fatalError() } set {} }
}
