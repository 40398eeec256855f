import AVFoundation
import Foundation

@MainActor open class UIView: NSObject {
    public override init() {}
    open class var layerClass: AnyClass { CALayer.self }
    public var layer: CALayer { fatalError() }
}

public class UIImage: NSObject, @unchecked Sendable {
    public init?(data: Data) {}
}

@MainActor public class UIDevice: NSObject {
    public class var current: UIDevice { fatalError() }
    public enum BatteryState: Int { case unknown, unplugged, charging, full }
    public var isBatteryMonitoringEnabled: Bool { get { false } set {} }
    public var batteryLevel: Float { 0 }
    public var batteryState: BatteryState { .unknown }
    public nonisolated class var batteryLevelDidChangeNotification: NSNotification.Name { fatalError() }
    public nonisolated class var batteryStateDidChangeNotification: NSNotification.Name { fatalError() }
}

@MainActor public class UIApplication: NSObject {
    public class var shared: UIApplication { fatalError() }
    public nonisolated class var openSettingsURLString: String { "" }
    public var isIdleTimerDisabled: Bool { get { false } set {} }
}
