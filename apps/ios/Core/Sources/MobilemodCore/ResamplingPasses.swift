import Foundation

/// The two directions of a resize, each rounded to 8 bits as sums of integers are.
enum ResamplingPass {
    private static let half: Int32 = 1 << Int32(Resampling.fractionBits - 1)

    private static func clip(_ sum: Int) -> UInt8 { UInt8(clamping: sum >> Resampling.fractionBits) }

    /// From 0 to 255, without comparisons, which Swift makes lane by lane.
    @inline(__always)
    private static func clip(_ numbers: SIMD16<Int32>) -> SIMD16<Int32> {
        let positive = numbers & ~(numbers &>> 31)
        return (positive | (255 &- positive) &>> 31) & 255
    }

    @inline(__always)
    private static func isAny(_ bits: SIMD16<Int32>) -> Bool {
        let eight = bits.lowHalf | bits.highHalf
        let two = unsafeBitCast(eight.lowHalf | eight.highHalf, to: SIMD2<UInt64>.self)
        return two[0] | two[1] != 0
    }

    // MARK: Across

    /// So many rows go together.
    private static let together = 16
    /// Their reds, greens and blues in one column.
    private typealias Column = (red: SIMD16<Float>, green: SIMD16<Float>, blue: SIMD16<Float>)
    /// Columns that the processor's nearest cache holds.
    private static let near = 256
    /// Added to a small float32 it makes a whole number of it, whose bits end in that number.
    private static let rounder: Float = 0x1.8p23
    /// Products below which other cores aren't worth waking.
    private static let shared = 8_000_000

    /// shift: the column of the whole image that is the first of `image`.
    ///
    /// Sums are float32. Where one is so near to the border between two whole numbers that its error
    /// could decide, the same is summed in integers.
    static func horizontal(
        _ image: PixelImage, _ k: ResamplingWeights, _ shift: Int, _ rows: Range<Int>
    ) -> PixelImage {
        let line = 3 * k.starts.count
        let groups = (rows.count + together - 1) / together
        let products = 3 * rows.count * k.counts.reduce(0, +)
        let parts = products < shared ? 1 : min(groups, 4 * ProcessInfo.processInfo.activeProcessorCount)
        let rgb = [UInt8](unsafeUninitializedCapacity: line * rows.count) { out, count in
            image.rgb.withUnsafeBytes { bytes in
                // Every part writes rows of its own.
                nonisolated(unsafe) let (source, to) = (bytes, out.baseAddress!)
                let work = { @Sendable (part: Int) in
                    withUnsafeTemporaryAllocation(of: Column.self, capacity: max(near, k.size)) { columns in
                        for group in groups * part / parts..<groups * (part + 1) / parts {
                            let first = group * together
                            let lines = (0..<together).map { row in
                                let y = rows.lowerBound + min(first + row, rows.count - 1)
                                return (y * image.width - shift) * 3
                            }
                            for outputs in k.pieces(columns.count) {
                                let read = k.read(outputs)
                                let at = lines.map { $0 + 3 * read.lowerBound }
                                spread(source, at, columns, read.count)
                                let valid = min(together, rows.count - first)
                                weigh(columns, source, at, k, outputs, to + first * line, valid)
                            }
                        }
                    }
                }
                if parts == 1 { work(0) } else { DispatchQueue.concurrentPerform(iterations: parts, execute: work) }
            }
            count = line * rows.count
        }
        return PixelImage(unchecked: k.starts.count, rows.count, rgb)
    }

    /// Rows column by column. at: where in `source` each begins.
    private static func spread(
        _ source: UnsafeRawBufferPointer, _ at: [Int], _ columns: UnsafeMutableBufferPointer<Column>,
        _ count: Int
    ) {
        // Four bytes are read of a pixel's three, but of the image's last.
        let whole = min(count, (source.count - 4 - at[together - 1]) / 3 + 1)
        let to = columns.baseAddress!
        // First the pixels as they are into each column's first part, row after row.
        let packed = UnsafeMutableRawPointer(to)
        let stride = MemoryLayout<Column>.stride
        for row in 0..<together {
            var from = source.baseAddress! + at[row], pixel = packed + 4 * row
            for _ in 0..<whole {
                pixel.storeBytes(of: from.loadUnaligned(as: UInt32.self), as: UInt32.self)
                from += 3
                pixel += stride
            }
        }
        for x in 0..<whole {
            let pixels = (packed + x &* stride).load(as: SIMD16<UInt32>.self)
            to[x] = (lowest(pixels), lowest(pixels &>> 8), lowest(pixels &>> 16))
        }
        for x in whole..<count {
            func channel(_ c: Int) -> SIMD16<Float> { SIMD16(at.map { Float(source[$0 + 3 * x + c]) }) }
            to[x] = (channel(0), channel(1), channel(2))
        }
    }

    /// Each lane's lowest byte: 2^23 and a byte is a float32 whose bits end in the byte.
    @inline(__always)
    private static func lowest(_ packed: SIMD16<UInt32>) -> SIMD16<Float> {
        unsafeBitCast((packed & 255) | Float(0x1p23).bitPattern, to: SIMD16<Float>.self) - 0x1p23
    }

    /// The columns' sums of the rows, of which the first `valid` are written.
    private static func weigh(
        _ columns: UnsafeMutableBufferPointer<Column>, _ source: UnsafeRawBufferPointer, _ at: [Int],
        _ k: ResamplingWeights, _ outputs: Range<Int>,
        _ to: UnsafeMutablePointer<UInt8>, _ valid: Int
    ) {
        let line = 3 * k.starts.count
        let left = k.starts[outputs.lowerBound]
        k.fractions.withUnsafeBufferPointer { fractions in
            for x in outputs {
                let weights = fractions.baseAddress! + x &* k.size
                let values = columns.baseAddress! + (k.starts[x] &- left)
                var sum: Column = (.zero, .zero, .zero)
                for i in 0..<k.counts[x] {
                    add(&sum.red, values[i].red, weights[i])
                    add(&sum.green, values[i].green, weights[i])
                    add(&sum.blue, values[i].blue, weights[i])
                }
                let certain = Int32(bitPattern: k.certain[x].bitPattern)
                let (red, green, blue) = (round(sum.red, certain), round(sum.green, certain), round(sum.blue, certain))
                for row in 0..<valid {
                    let pixel = to + (row &* line &+ 3 &* x)
                    pixel[0] = UInt8(truncatingIfNeeded: red.bytes[row])
                    pixel[1] = UInt8(truncatingIfNeeded: green.bytes[row])
                    pixel[2] = UInt8(truncatingIfNeeded: blue.bytes[row])
                }
                let unsure = red.unsure | green.unsure | blue.unsure
                if isAny(unsure) {
                    for row in 0..<valid where unsure[row] != 0 {
                        for c in 0..<3 {
                            var exact = Int(half)
                            let from = at[row] + 3 * (k.starts[x] - left) + c
                            for i in 0..<k.counts[x] { exact += Int(k.values[x * k.size + i]) * Int(source[from + 3 * i]) }
                            to[row * line + 3 * x + c] = clip(exact)
                        }
                    }
                }
            }
        }
    }

    @inline(__always)
    private static func add(_ sum: inout SIMD16<Float>, _ values: SIMD16<Float>, _ weight: Float) {
        #if arch(arm64)
        sum.addProduct(values, weight)
        #else
        // Where the processor may have no such instruction, it would be a call for each lane.
        sum += values * weight
        #endif
    }

    /// The nearest bytes, and -1 for each whose rounding isn't certain. certain: bits of how far from a
    /// whole number it is.
    @inline(__always)
    private static func round(
        _ sum: SIMD16<Float>, _ certain: Int32
    ) -> (bytes: SIMD16<Int32>, unsure: SIMD16<Int32>) {
        let rounded = sum + rounder
        let rest = sum - (rounded - rounder)
        let numbers = unsafeBitCast(rounded, to: SIMD16<Int32>.self) &- Int32(bitPattern: rounder.bitPattern)
        // Of floats without sign the bits are ordered as their values.
        let distance = unsafeBitCast(rest, to: SIMD16<Int32>.self) & Int32.max
        return (clip(numbers), (certain &- distance) &>> 31)
    }

    // MARK: Down

    /// shift: the row of the whole image that is the first of `image`.
    static func vertical(
        _ image: PixelImage, _ k: ResamplingWeights, _ shift: Int, _ columns: Range<Int>
    ) -> PixelImage {
        let stride = image.width * 3
        let line = columns.count * 3
        let rgb = [UInt8](unsafeUninitializedCapacity: line * k.starts.count) { out, count in
            image.rgb.withUnsafeBytes { source in
                k.values.withUnsafeBufferPointer { values in
                    for y in 0..<k.starts.count {
                        let from = source.baseAddress! + ((k.starts[y] - shift) * stride + columns.lowerBound * 3)
                        let weights = values.baseAddress! + y * k.size
                        let to = UnsafeMutableRawPointer(out.baseAddress! + y * line)
                        down(from, stride, weights, k.counts[y], to, line)
                    }
                }
            }
            count = line * k.starts.count
        }
        return PixelImage(unchecked: columns.count, k.starts.count, rgb)
    }

    /// One row of `line` values, out of `count` rows.
    private static func down(
        _ from: UnsafeRawPointer, _ stride: Int, _ weights: UnsafePointer<Int32>, _ count: Int,
        _ to: UnsafeMutableRawPointer, _ line: Int
    ) {
        var x = 0
        while x &+ 64 <= line {
            // Every fourth value from the first, the second, …
            let start = SIMD16<Int32>(repeating: half)
            var (a, b, c, d) = (start, start, start, start)
            var at = from + x
            for i in 0..<count {
                let packed = at.loadUnaligned(as: SIMD16<Int32>.self)
                a &+= (packed & 255) &* weights[i]
                b &+= ((packed &>> 8) & 255) &* weights[i]
                c &+= ((packed &>> 16) & 255) &* weights[i]
                d &+= ((packed &>> 24) & 255) &* weights[i]
                at += stride
            }
            func bytes(_ sum: SIMD16<Int32>) -> SIMD16<Int32> { clip(sum &>> Int32(Resampling.fractionBits)) }
            let packed = bytes(a) | bytes(b) &<< 8 | bytes(c) &<< 16 | bytes(d) &<< 24
            (to + x).storeBytes(of: packed, as: SIMD16<Int32>.self)
            x &+= 64
        }
        while x < line {
            var sum = Int(half)
            for i in 0..<count {
                sum += Int(weights[i]) * Int((from + (x + i * stride)).load(as: UInt8.self))
            }
            (to + x).storeBytes(of: clip(sum), as: UInt8.self)
            x += 1
        }
    }
}
