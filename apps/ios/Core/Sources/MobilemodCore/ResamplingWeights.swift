import Foundation

/// For each output position where its kernel begins in the source, and its weights.
struct ResamplingWeights {
    let starts: [Int]
    let counts: [Int]
    /// Position p's weights begin at p * size.
    let size: Int
    /// Of `Resampling.fractionBits` fractional bits.
    let values: [Int32]
    /// The same as float32, which holds them exactly.
    let fractions: [Float]
    /// A position's sum in float32 rounds as the exact one does, if it is no farther than this from a
    /// whole number.
    let certain: [Float]
    /// What is read of the source.
    let sourceRange: Range<Int>

    init(from source: Int, to target: Int, _ range: Range<Int>, _ interpolation: Interpolation) {
        let scale = Double(source) / Double(target)
        if interpolation == .nearest {
            let ones = [Int32](repeating: 1 << Int32(Resampling.fractionBits), count: range.count)
            let counts = [Int](repeating: 1, count: range.count)
            self.init(Self.nearest(source, scale, range), counts, size: 1, ones)
            return
        }
        let widened = max(scale, 1)
        let support = interpolation.support * widened
        let inverse = 1 / widened
        let size = Int(support.rounded(.up)) * 2 + 1
        var starts: [Int] = [], counts: [Int] = []
        var values = [Int32](repeating: 0, count: size * range.count)
        var k = [Double](repeating: 0, count: size)
        for (row, position) in range.enumerated() {
            let center = (Double(position) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let count = min(Int(center + support + 0.5), source) - first
            var sum = 0.0  // in this order, as Pillow adds them
            for i in 0..<count {
                k[i] = interpolation.weight((Double(i + first) - center + 0.5) * inverse)
                sum += k[i]
            }
            for i in 0..<count {
                let scaled = (sum == 0 ? k[i] : k[i] / sum) * Double(1 << Resampling.fractionBits)
                values[row * size + i] = Int32(scaled < 0 ? scaled - 0.5 : scaled + 0.5)
            }
            starts.append(first)
            counts.append(count)
        }
        self.init(starts, counts, size: size, values)
    }

    private init(_ starts: [Int], _ counts: [Int], size: Int, _ values: [Int32]) {
        self.starts = starts
        self.counts = counts
        self.size = size
        self.values = values
        sourceRange = (starts.min() ?? 0)..<(zip(starts, counts).map(+).max() ?? 0)
        let fractions = values.map { Float($0) / Float(1 << Resampling.fractionBits) }
        self.fractions = fractions
        certain = counts.indices.map { position in
            // Each product and each addition errs by 2^-24 of at most all absolute products together.
            let weights = fractions[position * size..<position * size + counts[position]]
            let error = Float(counts[position] + 3) * weights.reduce(0) { $0 + abs($1) } * 255 * 0x1p-24
            return 0.5 - 1.01 * error
        }
    }

    /// Pillow adds the step up instead of multiplying, which rounds otherwise.
    private static func nearest(_ source: Int, _ step: Double, _ range: Range<Int>) -> [Int] {
        var position = step * 0.5
        for _ in 0..<range.lowerBound { position += step }
        return range.map { _ in
            defer { position += step }
            return min(Int(position), source - 1)
        }
    }

    /// What positions read of the source.
    func read(_ positions: Range<Int>) -> Range<Int> {
        starts[positions.lowerBound]..<starts[positions.upperBound - 1] + counts[positions.upperBound - 1]
    }

    /// All positions, in pieces that read at most `count` of the source. count: at least `size`.
    func pieces(_ count: Int) -> [Range<Int>] {
        var pieces: [Range<Int>] = [], first = 0
        for position in starts.indices where starts[position] + counts[position] - starts[first] > count {
            pieces.append(first..<position)
            first = position
        }
        return pieces + [first..<starts.count]
    }
}
