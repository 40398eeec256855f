import Foundation

/// The kernels by their names in the manifest.
public enum Interpolation: String, Codable, Sendable, CaseIterable {
    case nearest, bilinear, bicubic

    /// Half the kernel's width in source pixels, before it is widened for shrinking.
    var support: Double { self == .bilinear ? 1 : 2 }

    func weight(_ distance: Double) -> Double {
        let x = abs(distance)
        switch self {
        case .nearest: return 0
        case .bilinear: return x < 1 ? 1 - x : 0
        case .bicubic:
            // Keys' kernel with a = -0.5
            if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
            return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
        }
    }
}

/// Pillow's antialiased resize, bit for bit: two passes, the kernel's support scaled by the
/// shrinking factor, weights of 22 fractional bits, each pass rounded and clipped to 8 bits.
/// Source: Pillow's Resample.c and Geometry.c, read and written anew.
enum Resampling {
    private static let fractionBits = 22

    /// Part of a resized image: columns x…x+width, rows y…y+height of `image` at target size.
    static func resize(
        _ image: PixelImage, to target: (width: Int, height: Int), by interpolation: Interpolation,
        window: (x: Int, y: Int, width: Int, height: Int)
    ) -> PixelImage {
        let columns = Weights(
            from: image.width, to: target.width, window.x..<window.x + window.width, interpolation
        )
        let rows = Weights(
            from: image.height, to: target.height, window.y..<window.y + window.height, interpolation
        )
        let (across, down) = (columns.sourceRange, rows.sourceRange)
        // Pillow's order, which shows in the last bit.
        if image.height - target.height > max(0, 2 * (image.width - target.width)) {
            let between = vertical(image, rows, 0, across)
            return horizontal(between, columns, across.lowerBound, 0..<between.height)
        }
        let between = horizontal(image, columns, 0, down)
        return vertical(between, rows, down.lowerBound, 0..<between.width)
    }

    /// For each output position where its kernel begins in the source, and its weights.
    private struct Weights {
        let starts: [Int]
        let counts: [Int]
        let size: Int
        let values: [Int32]

        init(from source: Int, to target: Int, _ range: Range<Int>, _ interpolation: Interpolation) {
            let scale = Double(source) / Double(target)
            if interpolation == .nearest {
                size = 1
                starts = Self.nearest(source, scale, range)
                counts = [Int](repeating: 1, count: range.count)
                values = [Int32](repeating: 1 << Int32(fractionBits), count: range.count)
                return
            }
            let widened = max(scale, 1)
            let support = interpolation.support * widened
            let inverse = 1 / widened
            size = Int(support.rounded(.up)) * 2 + 1
            var starts: [Int] = [], counts: [Int] = []
            var values = [Int32](repeating: 0, count: size * range.count)
            for (row, position) in range.enumerated() {
                let center = (Double(position) + 0.5) * scale
                let first = max(Int(center - support + 0.5), 0)
                let count = min(Int(center + support + 0.5), source) - first
                var k = (0..<count).map {
                    interpolation.weight((Double($0 + first) - center + 0.5) * inverse)
                }
                // In this order, as Pillow adds them.
                let sum = k.reduce(0, +)
                if sum != 0 { k = k.map { $0 / sum } }
                for (i, weight) in k.enumerated() {
                    let scaled = weight * Double(1 << fractionBits)
                    values[row * size + i] = Int32(weight < 0 ? scaled - 0.5 : scaled + 0.5)
                }
                starts.append(first)
                counts.append(count)
            }
            self.starts = starts
            self.counts = counts
            self.values = values
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

        /// What is read of the source.
        var sourceRange: Range<Int> {
            let ends = zip(starts, counts).map { $0 + $1 }
            return (starts.min() ?? 0)..<(ends.max() ?? 0)
        }
    }

    private static func clip(_ sum: Int) -> UInt8 {
        UInt8(clamping: sum >> fractionBits)
    }

    /// shift: the column of the whole image that is the first of `image`.
    private static func horizontal(
        _ image: PixelImage, _ k: Weights, _ shift: Int, _ rows: Range<Int>
    ) -> PixelImage {
        let width = k.starts.count
        var out = [UInt8](repeating: 0, count: width * rows.count * 3)
        image.rgb.withUnsafeBufferPointer { source in
            k.values.withUnsafeBufferPointer { weights in
                out.withUnsafeMutableBufferPointer { out in
                    for (row, y) in rows.enumerated() {
                        for x in 0..<width {
                            var (r, g, b) = (1 << 21, 1 << 21, 1 << 21)
                            var at = (y * image.width + k.starts[x] - shift) * 3
                            for i in x * k.size..<x * k.size + k.counts[x] {
                                let w = Int(weights[i])
                                r += w * Int(source[at])
                                g += w * Int(source[at + 1])
                                b += w * Int(source[at + 2])
                                at += 3
                            }
                            let to = (row * width + x) * 3
                            out[to] = clip(r)
                            out[to + 1] = clip(g)
                            out[to + 2] = clip(b)
                        }
                    }
                }
            }
        }
        return PixelImage(unchecked: width, rows.count, out)
    }

    /// shift: the row of the whole image that is the first of `image`.
    private static func vertical(
        _ image: PixelImage, _ k: Weights, _ shift: Int, _ columns: Range<Int>
    ) -> PixelImage {
        let stride = image.width * 3
        let line = columns.count * 3
        var out = [UInt8](repeating: 0, count: line * k.starts.count)
        image.rgb.withUnsafeBufferPointer { source in
            k.values.withUnsafeBufferPointer { weights in
                out.withUnsafeMutableBufferPointer { out in
                    for y in 0..<k.starts.count {
                        let first = (k.starts[y] - shift) * stride + columns.lowerBound * 3
                        for x in 0..<line {
                            var sum = 1 << 21
                            var at = first + x
                            for i in y * k.size..<y * k.size + k.counts[y] {
                                sum += Int(weights[i]) * Int(source[at])
                                at += stride
                            }
                            out[y * line + x] = clip(sum)
                        }
                    }
                }
            }
        }
        return PixelImage(unchecked: columns.count, k.starts.count, out)
    }
}
