import Foundation

/// What this app is, from its Info.plist.
enum AppFacts {
    static let name = "Mobilemod"

    static var version: String { value("CFBundleShortVersionString") }

    /// The version of the ExecuTorch package that is linked, which has no call that tells it.
    static var executorchVersion: String { value("ExecuTorchVersion") }

    private static func value(_ key: String) -> String {
        Bundle.main.object(forInfoDictionaryKey: key) as? String ?? "unknown"
    }
}
