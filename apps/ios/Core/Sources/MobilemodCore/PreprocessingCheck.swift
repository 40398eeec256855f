import Foundation

/// Says whether an app's own preprocessing gives what the manifest asks for, and if not, which
/// mistake gives the same.
public enum PreprocessingCheck {
    public enum Verdict: Equatable, Sendable {
        case right
        /// The mistake that comes nearest, and how far it is from what the app gave (mean absolute
        /// difference of 8-bit values).
        case mistake(String, distance: Double)
        case unknown
    }

    /// Mean absolute difference of 8-bit values under which two results count as the same.
    static let same = 1.0

    /// produced: what the app made of `image`, uint8 (height, width, 3).
    public static func verdict(_ produced: PixelImage, of image: PixelImage, _ spec: Preprocess) -> Verdict {
        let wanted = spec.pixels(image)
        if largestStep(produced, wanted) <= 1 { return .right }
        let found = candidates(image, spec, wanted)
            .map { (name: $0.name, distance: distance(produced, $0.pixels)) }
            .min { $0.distance < $1.distance }
        guard let found, found.distance <= same, found.distance < distance(produced, wanted) else {
            return .unknown
        }
        return .mistake(found.name, distance: found.distance)
    }

    private static func candidates(
        _ image: PixelImage, _ spec: Preprocess, _ wanted: PixelImage
    ) -> [(name: String, pixels: PixelImage)] {
        func changed(_ change: (inout Preprocess) -> Void) -> PixelImage {
            var other = spec
            change(&other)
            return other.pixels(image)
        }
        var found = Alteration.allCases.map { (name: $0.text, pixels: $0.make(wanted)) }
        for other in Interpolation.allCases where other != spec.interpolation {
            found.append(("resized by \(other.rawValue), not \(spec.interpolation.rawValue)",
                          changed { $0.interpolation = other }))
        }
        if spec.cropFraction < 1 {
            found.append(("the image is resized to the input's size, without the margin",
                          changed { $0.cropFraction = 1 }))
        }
        if spec.fit == .crop {
            found.append(("the whole image is squeezed into the input",
                          changed { ($0.fit, $0.cropFraction) = (.stretch, 1) }))
        } else {
            let kept = spec.fit == .stretch ? "the ratio of the image's sides is kept" : "there are no bars"
            found.append((kept, changed { $0.fit = .crop }))
        }
        return found
    }

    static func largestStep(_ a: PixelImage, _ b: PixelImage) -> Int {
        guard a.width == b.width, a.height == b.height else { return 256 }
        return zip(a.rgb, b.rgb).map { abs(Int($0) - Int($1)) }.max() ?? 0
    }

    static func distance(_ a: PixelImage, _ b: PixelImage) -> Double {
        guard a.width == b.width, a.height == b.height else { return .infinity }
        let sum = zip(a.rgb, b.rgb).reduce(0) { $0 + abs(Int($1.0) - Int($1.1)) }
        return Double(sum) / Double(a.rgb.count)
    }
}
