import Foundation

/// What a file's output tells of a map.
public protocol MapOutput: Sendable {
    /// At the output's own size; `none` everywhere where a pixel has no answer.
    func map() -> ClassMap
    /// The map at another size.
    func smoothMap(_ other: MapSize) -> ClassMap
}

/// The map itself: a class for each pixel as a number. Nothing tells where borders lie between pixels,
/// so a `smoothMap` has them along these.
public struct MapCodes: MapOutput {
    private let own: ClassMap

    /// Throws `BadInput` where the values are another number than the map's, or no classes.
    public init(_ values: [Float], _ size: MapSize, classes: Int) throws {
        guard values.count == size.pixels else {
            throw BadInput("\(values.count) values for a map of \(size.height) x \(size.width)")
        }
        let codes = try values.map { value in
            guard let code = UInt8(exactly: value), code < classes || code == ClassMap.none else {
                throw BadInput("class \(value) of \(classes)")
            }
            return code
        }
        let none = [UInt8](repeating: ClassMap.none, count: size.pixels)
        own = ClassMap(size, codes.contains(ClassMap.none) ? none : codes)
    }

    public func map() -> ClassMap { own }

    public func smoothMap(_ other: MapSize) -> ClassMap { own.laid(on: other) }
}

/// Scores for each class at each pixel, as a file's output has them.
public struct Scores: MapOutput {
    /// Whether classes come before the rows, (classes, height, width), or last.
    public enum Order: String, Sendable {
        case first, last

        /// The order in files of a target.
        public init(target: String) { self = target == "tflite" ? .last : .first }
    }

    private let values: [Float]
    private let size: MapSize
    private let classes: Int
    private let byClass: Int
    private let byPixel: Int

    /// Throws `BadInput` where the values are another number than the map's and the classes'.
    public init(_ values: [Float], _ size: MapSize, classes: Int, order: Order) throws {
        guard values.count == classes * size.pixels else {
            throw BadInput("\(values.count) values for \(classes) classes on \(size.height) x \(size.width)")
        }
        self.values = values
        self.size = size
        self.classes = classes
        byClass = order == .first ? size.pixels : 1
        byPixel = order == .first ? 1 : classes
    }

    /// The class of the largest score, of equal ones the lower; `none` everywhere where any score of
    /// the image isn't finite.
    public func map() -> ClassMap {
        guard isAnswer else { return noAnswer(size) }
        var codes = [UInt8](repeating: 0, count: size.pixels)
        values.withUnsafeBufferPointer { values in
            for i in codes.indices {
                var at = i * byPixel
                var best = values[at]
                for c in stride(from: 1, to: classes, by: 1) {
                    at += byClass
                    if values[at] > best {
                        best = values[at]
                        codes[i] = UInt8(c)
                    }
                }
            }
        }
        return ClassMap(size, codes)
    }

    /// As `map`, of the scores at another size: borders between pixels, not along them.
    public func smoothMap(_ other: MapSize) -> ClassMap {
        guard isAnswer else { return noAnswer(other) }
        var codes = [UInt8](repeating: 0, count: other.pixels)
        var best = enlarged(0, other)
        for c in stride(from: 1, to: classes, by: 1) {
            let plane = enlarged(c, other)
            for i in codes.indices where plane[i] > best[i] {
                best[i] = plane[i]
                codes[i] = UInt8(c)
            }
        }
        return ClassMap(other, codes)
    }

    /// The scores of a class at another size, bilinear: half-pixel centres, corners not aligned.
    public func enlarged(_ index: Int, _ other: MapSize) -> [Float] {
        let across = Axis(size.width, other.width), down = Axis(size.height, other.height)
        // The rows are widened first, each once.
        var wide: [Double] = []
        wide.reserveCapacity(size.height * other.width)
        for y in 0..<size.height {
            let begin = index * byClass + y * size.width * byPixel
            for x in 0..<other.width {
                let left = Double(values[begin + across.low[x] * byPixel])
                let right = Double(values[begin + across.high[x] * byPixel])
                wide.append(left * (1 - across.share[x]) + right * across.share[x])
            }
        }
        var found: [Float] = []
        found.reserveCapacity(other.pixels)
        for y in 0..<other.height {
            let upper = down.low[y] * other.width, lower = down.high[y] * other.width, share = down.share[y]
            for x in 0..<other.width {
                found.append(Float(wide[upper + x] * (1 - share) + wide[lower + x] * share))
            }
        }
        return found
    }

    private var isAnswer: Bool { values.allSatisfy(\.isFinite) }

    private func noAnswer(_ size: MapSize) -> ClassMap {
        ClassMap(size, [UInt8](repeating: ClassMap.none, count: size.pixels))
    }

    /// Of each place on an axis its two neighbours, and the second one's share.
    private struct Axis {
        var low: [Int] = []
        var high: [Int] = []
        var share: [Double] = []

        init(_ source: Int, _ target: Int) {
            for i in 0..<target {
                let at = max(0, (Double(i) + 0.5) * (Double(source) / Double(target)) - 0.5)
                low.append(min(Int(at), source - 1))
                high.append(min(low[i] + 1, source - 1))
                share.append(at - Double(low[i]))
            }
        }
    }
}
