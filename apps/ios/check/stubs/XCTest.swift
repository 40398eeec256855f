@_exported import Foundation

open class XCTestCase { public init() {} }
public struct XCTSkip: Error { public init(_ message: String?) {} }
public protocol XCTMetric {}
public class XCTClockMetric: XCTMetric { public init() {} }
public class XCTCPUMetric: XCTMetric { public init() {} }
public class XCTMemoryMetric: XCTMetric { public init() {} }
public class XCTMeasureOptions { public init() {}; public var iterationCount: Int { get { 5 } set {} } }
extension XCTestCase {
    public func measure(metrics: [XCTMetric], options: XCTMeasureOptions, block: () -> Void) {}
}
public func XCTAssertFalse(_ expression: @autoclosure () throws -> Bool, _ message: @autoclosure () -> String = "") {}
public func XCTAssertTrue(_ expression: @autoclosure () throws -> Bool, _ message: @autoclosure () -> String = "") {}
public func XCTAssertNoThrow<T>(_ expression: @autoclosure () throws -> T) {}

// XCUIAutomation: developer.apple.com/documentation/xcuiautomation, XCUIApplication, XCUIElement,
// XCUIElementQuery, XCUIElementTypeQueryProvider.
@MainActor public protocol XCUIElementTypeQueryProvider {}
extension XCUIElementTypeQueryProvider {
    public var buttons: XCUIElementQuery { fatalError() }
    public var navigationBars: XCUIElementQuery { fatalError() }
    public var switches: XCUIElementQuery { fatalError() }
    public var staticTexts: XCUIElementQuery { fatalError() }
    public var tabBars: XCUIElementQuery { fatalError() }
}
@MainActor public class XCUIElement: XCUIElementTypeQueryProvider {
    init() {}
    public func tap() {}
    public func waitForExistence(timeout: TimeInterval) -> Bool { false }
}
@MainActor public class XCUIElementQuery: XCUIElementTypeQueryProvider {
    public var firstMatch: XCUIElement { fatalError() }
    public func matching(_ predicate: NSPredicate) -> XCUIElementQuery { self }
    public subscript(key: String) -> XCUIElement { fatalError() }
}
@MainActor public class XCUIApplication: XCUIElement {
    public override init() {}
    public var launchArguments: [String] { get { [] } set {} }
    public func launch() {}
}
// NSPredicate(format:), which Foundation on Linux has not.
extension NSPredicate { public convenience init(format: String, _ arguments: CVarArg...) { fatalError() } }
