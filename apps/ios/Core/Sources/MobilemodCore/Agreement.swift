/// What is compared of a file's answer to a picture.
public enum Verdict: Equatable, Sendable {
    /// The best class; nil where no value was finite.
    case best(Int?)
    case map(ClassMap)

    /// 1 where the best class is the same, else 0; of maps of one size, the share of their pixels that have the
    /// same class, without those that have none in both, as bars beside a picture. No answer is like none.
    public func alike(_ other: Verdict) -> Double {
        switch (self, other) {
        case (.best(let one?), .best(let another?)): return one == another ? 1 : 0
        case (.map(let one), .map(let another)): return Verdict.share(one.codes, another.codes)
        default: return 0
        }
    }

    private static func share(_ one: [UInt8], _ another: [UInt8]) -> Double {
        var alike = 0, all = 0
        for (code, other) in zip(one, another) where code != ClassMap.none || other != ClassMap.none {
            all += 1
            if code == other { alike += 1 }
        }
        return all == 0 ? 0 : Double(alike) / Double(all)
    }
}

/// How alike two files' answers to the same pictures were so far, and whose turn it is to begin.
public struct Agreement: Equatable, Sendable {
    public private(set) var pictures = 0
    private var alike = 0.0

    public init() {}

    /// 0 to 100; nil before the first picture.
    public var percent: Double? { pictures == 0 ? nil : 100 * alike / Double(pictures) }

    /// Both files' answers to one picture, which is counted. The first file begins with the first picture, the
    /// second with the next: neither always has the cooler processor. Rethrows, and counts nothing then.
    public mutating func both<Answer>(
        _ first: () throws -> Answer, _ second: () throws -> Answer, verdict: (Answer) -> Verdict
    ) rethrows -> (first: Answer, second: Answer) {
        let one, other: Answer
        if pictures % 2 == 0 {
            one = try first()
            other = try second()
        } else {
            other = try second()
            one = try first()
        }
        add(verdict(one), verdict(other))
        return (one, other)
    }

    /// Counts a picture by what both files said of it.
    public mutating func add(_ first: Verdict, _ second: Verdict) {
        pictures += 1
        alike += first.alike(second)
    }
}
