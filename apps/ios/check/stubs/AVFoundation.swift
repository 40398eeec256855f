@_exported import CoreVideo
import Foundation

open class CALayer: NSObject {}

public class CMSampleBuffer {}
public func CMSampleBufferGetImageBuffer(_ buffer: CMSampleBuffer) -> CVImageBuffer? { nil }

public struct AVMediaType: Sendable { public static let video = AVMediaType() }
public struct AVLayerVideoGravity: Sendable { public static let resizeAspectFill = AVLayerVideoGravity() }
public enum AVAuthorizationStatus: Int { case notDetermined, restricted, denied, authorized }

public class AVCaptureDevice: NSObject {
    public struct DeviceType: Sendable { public static let builtInWideAngleCamera = DeviceType() }
    public enum Position: Int { case back = 1 }
    public class func `default`(
        _ type: DeviceType, for media: AVMediaType?, position: Position
    ) -> AVCaptureDevice? { nil }
    public class func authorizationStatus(for media: AVMediaType) -> AVAuthorizationStatus { fatalError() }
    public class func requestAccess(for media: AVMediaType) async -> Bool { false }
}

public class AVCaptureInput: NSObject {}
public class AVCaptureDeviceInput: AVCaptureInput {
    public init(device: AVCaptureDevice) throws {}
}

public class AVCaptureConnection: NSObject {
    public func isVideoRotationAngleSupported(_ angle: Double) -> Bool { false }
    public var videoRotationAngle: Double { get { 0 } set {} }
}

public class AVCaptureOutput: NSObject {
    public func connection(with media: AVMediaType) -> AVCaptureConnection? { nil }
}

public class AVCaptureVideoDataOutput: AVCaptureOutput {
    public override init() {}
    public var videoSettings: [String: Any]! { get { nil } set {} }
    public var alwaysDiscardsLateVideoFrames: Bool { get { true } set {} }
    public func setSampleBufferDelegate(
        _ delegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?, queue: DispatchQueue?
    ) {}
}

public protocol AVCaptureVideoDataOutputSampleBufferDelegate: AnyObject {
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    )
}

public class AVCaptureSession: NSObject, @unchecked Sendable {
    public struct Preset: Sendable { public static let vga640x480 = Preset() }
    public override init() {}
    public var isRunning: Bool { false }
    public func startRunning() {}
    public func stopRunning() {}
    public func beginConfiguration() {}
    public func commitConfiguration() {}
    public func canSetSessionPreset(_ preset: Preset) -> Bool { false }
    public var sessionPreset: Preset { get { fatalError() } set {} }
    public func canAddInput(_ input: AVCaptureInput) -> Bool { false }
    public func canAddOutput(_ output: AVCaptureOutput) -> Bool { false }
    public func addInput(_ input: AVCaptureInput) {}
    public func addOutput(_ output: AVCaptureOutput) {}
}

public class AVCaptureVideoPreviewLayer: CALayer {
    public var session: AVCaptureSession? { get { nil } set {} }
    public var videoGravity: AVLayerVideoGravity { get { fatalError() } set {} }
}
