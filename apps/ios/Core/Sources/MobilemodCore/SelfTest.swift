import Foundation

/// Runs the bundle's golden images on a loaded model, and says what is wrong where one fails.
public enum SelfTest {
    /// The outcome of one golden image.
    public struct Result: Equatable, Sendable {
        public let image: String
        /// Of a logit; of a network of maps the percentage of the pixels that have another class.
        public let largestDifference: Double
        public let tolerance: Double
        /// Nil where it passed.
        public let fault: Fault?

        public var passed: Bool { fault == nil }

        /// The image, the difference, what is allowed, and what is wrong, in one line.
        public var summary: String {
            let figures = String(format: "%.4f of %.4f allowed", largestDifference, tolerance)
            return "\(image): \(figures), \(fault?.text ?? "passed")"
        }
    }

    public enum Fault: Equatable, Sendable {
        /// The model answers rightly once the pixels are changed so: they reach it changed.
        case pixels(Alteration)
        /// No change of the pixels explains the answer.
        case runtime

        /// For people.
        public var text: String {
            switch self {
            case .pixels(let alteration): return "\(alteration.text) on the way to the model"
            case .runtime: return "the runtime gives another answer than at export"
            }
        }
    }

    /// Percent of a map's pixels that may have another class: at borders a rounding decides.
    static let otherPixels = 3.0

    /// How far logits may lie from the manifest's: 1e-3, and five steps of an int8 output; half
    /// precision rounds by up to 2^-11 of a value at each of many ops, for which 2 % of the largest
    /// logit is allowed.
    public static func tolerance(_ precision: String, _ golden: [[Double]]) -> Double {
        let base = 1e-3
        switch precision {
        case "int8": return base + 5 * step(golden)
        case "float16": return base + 0.02 * (golden.joined().map(abs).max() ?? 0)
        default: return base
        }
    }

    /// The step of an int8 output: the smallest difference of two logits, which are multiples of it.
    static func step(_ golden: [[Double]]) -> Double {
        let ordered = Set(golden.joined()).sorted()
        // The manifest rounds to 1e-5, so that equal codes may differ by that.
        let gaps = zip(ordered.dropFirst(), ordered).map { $0 - $1 }.filter { $0 > 1e-4 }
        return gaps.min() ?? 0
    }

    /// decode: a golden image's pixels, uint8 (height, width, 3), by its path in the bundle.
    /// Throws what decoding and the engine throw, and `BadInput` where the manifest has no golden
    /// answer of the file.
    public static func run(
        _ manifest: Manifest, _ file: Manifest.ModelFile, _ engine: Engine,
        decode: (String) throws -> PixelImage
    ) throws -> [Result] {
        let comparisons = try manifest.golden.map { try comparison(manifest, file, $0) }
        let tolerance = manifest.map == nil
            ? tolerance(file.precision, manifest.golden.compactMap { $0.logits?[file.file] }) : otherPixels
        return try zip(manifest.golden, comparisons).map { golden, difference in
            func far(_ pixels: PixelImage) throws -> Double {
                try engine.prepare(pixels)
                return try difference(engine.run())
            }
            let pixels = try decode(golden.image)
            let found = try far(pixels)
            var fault: Fault?
            if !(found <= tolerance) {
                // What turns a rectangle makes no input of it.
                let explained = try Alteration.allCases.first {
                    let undone = $0.undo(pixels)
                    guard manifest.preprocess.size.fits(undone) else { return false }
                    return try far(undone) <= tolerance
                }
                fault = explained.map { .pixels($0) } ?? .runtime
            }
            return Result(
                image: golden.image, largestDifference: found, tolerance: tolerance, fault: fault
            )
        }
    }

    /// How far an output is from a golden image's answer; infinite where it isn't finite or of another
    /// size.
    private static func comparison(
        _ manifest: Manifest, _ file: Manifest.ModelFile, _ golden: Manifest.Golden
    ) throws -> ([Float]) -> Double {
        if let map = manifest.map, let runs = golden.runs?[file.file] {
            let expected = try Runs.read(runs, map)
            return { output in
                guard let found = try? manifest.mapOutput(output, file.target)?.map() else { return .infinity }
                return 100 - found.alikePercent(expected)
            }
        }
        guard manifest.map == nil, let expected = golden.logits?[file.file] else {
            throw BadInput("the manifest has no golden answer of \(file.file); export again")
        }
        return { logits in
            guard logits.count == expected.count, logits.allSatisfy(\.isFinite) else { return .infinity }
            return zip(logits, expected).map { abs(Double($0) - $1) }.max() ?? 0
        }
    }
}

/// What is commonly done to pixels by mistake between the image and the model.
public enum Alteration: String, CaseIterable, Sendable {
    case swappedColors, transposed, upsideDown, mirrored, turnedRight, turnedLeft, turnedAround

    /// For people.
    public var text: String {
        switch self {
        case .swappedColors: return "red and blue are swapped"
        case .transposed: return "rows and columns are swapped"
        case .upsideDown: return "the image is upside down"
        case .mirrored: return "the image is mirrored"
        case .turnedRight: return "the image is turned to the right"
        case .turnedLeft: return "the image is turned to the left"
        case .turnedAround: return "the image is turned by 180°"
        }
    }

    /// The pixels with the mistake made.
    public func make(_ pixels: PixelImage) -> PixelImage {
        switch self {
        case .swappedColors:
            var rgb = pixels.rgb
            for i in stride(from: 0, to: rgb.count, by: 3) { rgb.swapAt(i, i + 2) }
            return PixelImage(unchecked: pixels.width, pixels.height, rgb)
        case .transposed: return pixels.oriented(5)
        case .upsideDown: return pixels.oriented(4)
        case .mirrored: return pixels.oriented(2)
        case .turnedRight: return pixels.oriented(6)
        case .turnedLeft: return pixels.oriented(8)
        case .turnedAround: return pixels.oriented(3)
        }
    }

    /// The pixels with the mistake taken back.
    public func undo(_ pixels: PixelImage) -> PixelImage {
        switch self {
        case .turnedRight: return Alteration.turnedLeft.make(pixels)
        case .turnedLeft: return Alteration.turnedRight.make(pixels)
        default: return make(pixels)
        }
    }
}
