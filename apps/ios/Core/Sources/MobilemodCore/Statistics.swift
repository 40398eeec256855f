import Foundation

/// Of a series of times in milliseconds: nearest-rank percentiles, and what lies around them.
public struct LatencySummary: Equatable, Sendable {
    public let count: Int
    public let p50: Double
    public let p90: Double
    public let p99: Double
    public let min: Double
    public let max: Double
    public let mean: Double

    /// Nil for no values.
    public init?(_ values: [Double]) {
        if values.isEmpty { return nil }
        let ordered = values.sorted()
        func rank(_ percent: Int) -> Double { ordered[(percent * ordered.count + 99) / 100 - 1] }
        count = ordered.count
        p50 = rank(50)
        p90 = rank(90)
        p99 = rank(99)
        min = ordered[0]
        max = ordered[ordered.count - 1]
        mean = values.reduce(0, +) / Double(values.count)
    }
}

/// The last values of a running series, for latency as it is now.
public struct RollingWindow: Sendable {
    public let capacity: Int
    private var values: [Double] = []
    private var oldest = 0

    public init(capacity: Int = 100) {
        self.capacity = capacity
    }

    public mutating func add(_ value: Double) {
        if values.count < capacity {
            values.append(value)
        } else {
            values[oldest] = value
            oldest = (oldest + 1) % capacity
        }
    }

    public mutating func clear() {
        values = []
        oldest = 0
    }

    public var summary: LatencySummary? { LatencySummary(values) }
}

/// When warm-up ends.
public enum WarmUp {
    static let group = 8
    static let tolerance = 0.05

    /// At `limit` runs, or where the median of the last eight is within 5 % of the median of the
    /// eight before. values: milliseconds so far.
    public static func isOver(_ values: [Double], limit: Int) -> Bool {
        if values.count >= limit { return true }
        guard values.count >= 2 * group else { return false }
        let last = median(values.suffix(group))
        let before = median(values.dropLast(group).suffix(group))
        return abs(last - before) <= tolerance * before
    }

    /// Of an even number of values the mean of the middle two.
    static func median(_ values: some Collection<Double>) -> Double {
        let ordered = values.sorted()
        let middle = ordered.count / 2
        return ordered.count % 2 == 1 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2
    }
}

/// How many frames a second were answered, over the last `capacity`.
public struct FrameRate: Sendable {
    private let capacity: Int
    private var times: [Double] = []

    public init(capacity: Int = 20) {
        self.capacity = capacity
    }

    /// A frame was answered at so many seconds.
    public mutating func add(_ seconds: Double) {
        times.append(seconds)
        if times.count > capacity { times.removeFirst() }
    }

    /// Nil before the second frame.
    public var perSecond: Double? {
        guard let first = times.first, let last = times.last, last > first else { return nil }
        return Double(times.count - 1) / (last - first)
    }

    public mutating func clear() { times = [] }
}
