import Foundation
import UIKit

/// The battery, readable from any thread; UIKit tells it on the main one only.
final class Battery: @unchecked Sendable {
    private let lock = NSLock()
    private var last: (level: Double?, charging: Bool?) = (nil, nil)
    private var observers: [NSObjectProtocol] = []

    /// level: 0…1; both nil where they aren't known, as in the simulator.
    var charge: (level: Double?, charging: Bool?) {
        lock.lock()
        defer { lock.unlock() }
        return last
    }

    @MainActor func watch() {
        UIDevice.current.isBatteryMonitoringEnabled = true
        read()
        let names = [UIDevice.batteryLevelDidChangeNotification, UIDevice.batteryStateDidChangeNotification]
        observers = names.map { name in
            NotificationCenter.default.addObserver(forName: name, object: nil, queue: .main) { [weak self] _ in
                MainActor.assumeIsolated { self?.read() }
            }
        }
    }

    @MainActor private func read() {
        let device = UIDevice.current
        let level = device.batteryLevel
        let state = device.batteryState
        lock.lock()
        defer { lock.unlock() }
        last = (
            level < 0 ? nil : Double(level),
            state == .unknown ? nil : state == .charging || state == .full
        )
    }
}
