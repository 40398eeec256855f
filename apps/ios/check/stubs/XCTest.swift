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
