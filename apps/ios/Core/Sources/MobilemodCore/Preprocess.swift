import Foundation

/// How a decoded image becomes the network's input, as the manifest says it.
///
/// The image is resized to `round(side / cropFraction)` pixels on each side; with `fit` `.crop` it
/// keeps the ratio of its sides and covers these, with `.letterbox` it lies within. The centre of
/// `size` is cropped, where there is less the rest is filled with what is nearest to 0 when normalized;
/// 8-bit values are divided by 255, then `(x - mean) / std` per channel, channels first.
public struct Preprocess: Codable, Equatable, Sendable {
    public let size: InputSize
    public internal(set) var cropFraction: Double
    public internal(set) var interpolation: Interpolation
    public internal(set) var fit: Fit
    public let mean: [Double]
    public let std: [Double]
    public let color: String
    public let layout: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case size, interpolation, mean, std, color, layout, fit
        case cropFraction = "crop_fraction"
    }

    /// Throws `BadInput` for values that no network of ours takes.
    public init(
        size: InputSize, cropFraction: Double, interpolation: Interpolation, mean: [Double],
        std: [Double], color: String = "RGB", layout: String = "NCHW", fit: Fit = .crop
    ) throws {
        for side in [size.height, size.width] where !(16...4096).contains(side) {
            throw BadInput("preprocessing: size \(side) is not from 16 to 4096")
        }
        guard cropFraction > 0, cropFraction <= 1 else {
            throw BadInput("preprocessing: crop_fraction \(cropFraction) is not in (0, 1]")
        }
        guard mean.count == 3, std.count == 3, (mean + std).allSatisfy(\.isFinite),
              std.allSatisfy({ $0 > 0 })
        else {
            throw BadInput("preprocessing: mean and std need three numbers each, std above 0")
        }
        guard color == "RGB", layout == "NCHW" else {
            throw BadInput("preprocessing: this app knows RGB and NCHW, not \(color) and \(layout)")
        }
        self.size = size
        self.cropFraction = cropFraction
        self.interpolation = interpolation
        self.mean = mean
        self.std = std
        self.color = color
        self.layout = layout
        self.fit = fit
    }

    public init(from decoder: Decoder) throws {
        let known = Set(CodingKeys.allCases.map(\.stringValue))
        let all = try decoder.container(keyedBy: AnyKey.self).allKeys.map(\.stringValue)
        if let unknown = all.filter({ !known.contains($0) }).min() {
            throw BadInput("preprocessing: unknown key '\(unknown)'")
        }
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let name = try values.decode(String.self, forKey: .interpolation)
        guard let interpolation = Interpolation(rawValue: name) else {
            throw BadInput("preprocessing: unknown interpolation '\(name)'")
        }
        let fitName = try values.decodeIfPresent(String.self, forKey: .fit) ?? Fit.crop.rawValue
        guard let fit = Fit(rawValue: fitName) else {
            throw BadInput("preprocessing: unknown fit '\(fitName)'")
        }
        try self.init(
            size: values.decode(InputSize.self, forKey: .size),
            cropFraction: values.decode(Double.self, forKey: .cropFraction),
            interpolation: interpolation,
            mean: values.decode([Double].self, forKey: .mean),
            std: values.decode([Double].self, forKey: .std),
            color: values.decode(String.self, forKey: .color),
            layout: values.decode(String.self, forKey: .layout),
            fit: fit
        )
    }

    /// The resized image, cropped or with bars, uint8 (height, width, 3). image: already oriented.
    public func pixels(_ image: PixelImage) -> PixelImage {
        let target = resized(image)
        let window = (
            x: max(0, target.width - size.width) / 2, y: max(0, target.height - size.height) / 2,
            width: min(target.width, size.width), height: min(target.height, size.height)
        )
        return setIn(Resampling.resize(image, to: target, by: interpolation, window: window))
    }

    /// Pixels in the middle of the input, with bars beside them.
    private func setIn(_ image: PixelImage) -> PixelImage {
        if size.fits(image) { return image }
        let bar = mean.map { value in
            UInt8(min(255, max(0, (255 * Double(Float(value))).rounded(.toNearestOrEven))))
        }
        var rgb = [UInt8](repeating: 0, count: 3 * size.width * size.height)
        for i in rgb.indices { rgb[i] = bar[i % 3] }
        let left = (size.width - image.width) / 2, top = (size.height - image.height) / 2
        let row = 3 * image.width
        for y in 0..<image.height {
            let to = 3 * ((top + y) * size.width + left)
            rgb.replaceSubrange(to..<to + row, with: image.rgb[y * row..<(y + 1) * row])
        }
        return PixelImage(unchecked: size.width, size.height, rgb)
    }

    /// What an image becomes, before the centre is cropped.
    private func resized(_ image: PixelImage) -> (width: Int, height: Int) {
        func rounded(_ length: Double) -> Int { Int(length.rounded(.toNearestOrEven)) }
        let width = rounded(Double(size.width) / cropFraction)
        let height = rounded(Double(size.height) / cropFraction)
        if fit == .stretch { return (width, height) }
        if fit == .letterbox {
            let scale = min(Double(width) / Double(image.width), Double(height) / Double(image.height))
            return (
                max(1, rounded(Double(image.width) * scale)),
                max(1, rounded(Double(image.height) * scale))
            )
        }
        let scale = max(Double(width) / Double(image.width), Double(height) / Double(image.height))
        return (
            max(width, rounded(Double(image.width) * scale)),
            max(height, rounded(Double(image.height) * scale))
        )
    }

    /// float32 (3, height, width) of uint8 (height, width, 3), normalized.
    public func normalize(_ pixels: PixelImage) -> [Float] {
        let plane = pixels.width * pixels.height
        var out = [Float](repeating: 0, count: 3 * plane)
        for channel in 0..<3 {
            let m = Float(mean[channel]), s = Float(std[channel])
            // Each of the 256 values once; in float32 step by step, as in Python.
            let table = (0..<256).map { (Float($0) / 255 - m) / s }
            out.withUnsafeMutableBufferPointer { out in
                pixels.rgb.withUnsafeBufferPointer { rgb in
                    for i in 0..<plane { out[channel * plane + i] = table[Int(rgb[3 * i + channel])] }
                }
            }
        }
        return out
    }
}

/// Whether an image keeps its sides' ratio and loses what juts out, takes the input's, or keeps its
/// own with bars beside it.
public enum Fit: String, Codable, Sendable {
    case crop, stretch, letterbox
}

/// The input's sides in pixels; in JSON a square's side, or height and width.
public struct InputSize: Codable, Equatable, Sendable, CustomStringConvertible {
    public let height: Int
    public let width: Int

    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }

    public static func square(_ side: Int) -> InputSize { InputSize(height: side, width: side) }

    public init(from decoder: Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let side = try? value.decode(Int.self) {
            self = .square(side)
            return
        }
        let sides = try value.decode([Int].self)
        guard sides.count == 2 else {
            throw BadInput("preprocessing: size has \(sides.count) values, not height and width")
        }
        self.init(height: sides[0], width: sides[1])
    }

    public func encode(to encoder: Encoder) throws {
        var value = encoder.singleValueContainer()
        if height == width { try value.encode(height) } else { try value.encode([height, width]) }
    }

    public var description: String { "\(width) x \(height)" }

    /// Whether an image has these sides.
    public func fits(_ image: PixelImage) -> Bool { image.width == width && image.height == height }
}

/// Any key of an object.
struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}
