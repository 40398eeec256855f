import AVFoundation
@_exported import CoreGraphics
import Foundation

// = UIView
@MainActor open class UIView: NSObject {
    // swift
    public override init() {}
    // = UIView.layerClass
    open class var layerClass: AnyClass { CALayer.self }
    // = UIView.layer
    public var layer: CALayer { fatalError() }
}

// = UIImage
public class UIImage: NSObject, @unchecked Sendable {
    // = UIImage.initWithData
    public init?(data: Data) {}
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
