import Foundation

/// A class and its logit.
public struct Ranked: Equatable, Sendable {
    public let classIndex: Int
    public let logit: Float

    public init(classIndex: Int, logit: Float) {
        self.classIndex = classIndex
        self.logit = logit
    }
}

/// What is read from logits, float32 (K,).
public enum Logits {
    /// The best k classes, best first; of equal logits the lower class first, what isn't finite is
    /// left out.
    public static func top(_ logits: [Float], _ k: Int) -> [Ranked] {
        let finite = logits.indices.filter { logits[$0].isFinite }
        let ordered = finite.sorted { logits[$0] == logits[$1] ? $0 < $1 : logits[$0] > logits[$1] }
        return ordered.prefix(k).map { Ranked(classIndex: $0, logit: logits[$0]) }
    }

    /// Probabilities; what isn't finite has none.
    public static func softmax(_ logits: [Float]) -> [Double] {
        let largest = logits.filter(\.isFinite).max() ?? 0
        let powers = logits.map { $0.isFinite ? exp(Double($0 - largest)) : 0 }
        let sum = powers.reduce(0, +)
        return sum > 0 ? powers.map { $0 / sum } : powers
    }

    /// Of the float32 values, little-endian.
    public static func sha256(_ logits: [Float]) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * logits.count)
        for value in logits {
            withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
        }
        return Hash.of(bytes)
    }
}
