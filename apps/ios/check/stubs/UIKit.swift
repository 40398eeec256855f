import AVFoundation
@_exported import CoreGraphics
import Foundation

// = UIView
@MainActor open class UIView: NSObject {
    // swift
    public override init() {}
    // = UIResponder.touchesEndedWithEvent
    open func touchesEnded(_ touches: Set<UITouch>, with event: UIEvent?) {}
    // = UIView.layerClass
    open class var layerClass: AnyClass { CALayer.self }
    // = UIView.layer
    public var layer: CALayer { fatalError() }
}

// = _UIEvent
@MainActor public class UIEvent: NSObject {}
// = UITouch
@MainActor public class UITouch: NSObject {
    // = UITouch.locationInView
    public func location(in view: UIView?) -> CGPoint { fatalError() }
}

// = UIImage
public class UIImage: NSObject, @unchecked Sendable {
    // = UIImage.initWithData
    public init?(data: Data) {}
    // = UIImage.initWithContentsOfFile
    public convenience init?(contentsOfFile path: String) { nil }
    // = UIImage.initWithCGImage
    public init(cgImage: CGImage) {}
}

// = UIDevice
@MainActor public class UIDevice: NSObject {
    // = UIDevice.currentDevice
    public class var current: UIDevice { fatalError() }
    // = UIDeviceBatteryState.Unknown, UIDeviceBatteryState.Unplugged, UIDeviceBatteryState.Charging, UIDeviceBatteryState.Full
    public enum BatteryState: Int { case unknown, unplugged, charging, full }
    // = UIDevice.batteryMonitoringEnabled
    public var isBatteryMonitoringEnabled: Bool { get { false } set {} }
    // = UIDevice.batteryLevel
    public var batteryLevel: Float { 0 }
    // = UIDevice.batteryState
    public var batteryState: BatteryState { .unknown }
    // = UIDeviceBatteryLevelDidChangeNotification
    public nonisolated class var batteryLevelDidChangeNotification: NSNotification.Name { fatalError() }
    // = UIDeviceBatteryStateDidChangeNotification
    public nonisolated class var batteryStateDidChangeNotification: NSNotification.Name { fatalError() }
}

// = UIApplication
@MainActor public class UIApplication: NSObject {
    // = UIApplication.sharedApplication
    public class var shared: UIApplication { fatalError() }
    // = UIApplicationOpenSettingsURLString
    public nonisolated class var openSettingsURLString: String { "" }
    // = UIApplication.idleTimerDisabled
    public var isIdleTimerDisabled: Bool { get { false } set {} }
}
