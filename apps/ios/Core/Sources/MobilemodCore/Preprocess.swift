import Foundation

/// How a decoded image becomes the network's input, as the manifest says it.
///
/// The shorter side is resized to `round(size / cropFraction)` pixels, the centre `size` x `size`
/// is cropped, 8-bit values are divided by 255, then `(x - mean) / std` per channel, channels first.
public struct Preprocess: Codable, Equatable, Sendable {
    public let size: Int
    public let cropFraction: Double
    public let interpolation: Interpolation
    public let mean: [Double]
    public let std: [Double]
    public let color: String
    public let layout: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case size, interpolation, mean, std, color, layout
        case cropFraction = "crop_fraction"
    }

    /// Throws `BadInput` for values that no network of ours takes.
    public init(
        size: Int, cropFraction: Double, interpolation: Interpolation, mean: [Double], std: [Double],
        color: String = "RGB", layout: String = "NCHW"
    ) throws {
        guard size >= 16, size <= 4096 else {
            throw BadInput("preprocessing: size \(size) is not from 16 to 4096")
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
        try self.init(
            size: values.decode(Int.self, forKey: .size),
            cropFraction: values.decode(Double.self, forKey: .cropFraction),
            interpolation: interpolation,
            mean: values.decode([Double].self, forKey: .mean),
            std: values.decode([Double].self, forKey: .std),
            color: values.decode(String.self, forKey: .color),
            layout: values.decode(String.self, forKey: .layout)
        )
    }

    /// The resized and cropped image, uint8 (size, size, 3). image: already oriented.
    public func pixels(_ image: PixelImage) -> PixelImage {
        let short = Int((Double(size) / cropFraction).rounded(.toNearestOrEven))
        let scale = Double(short) / Double(min(image.width, image.height))
        func side(_ length: Int) -> Int {
            max(short, Int((Double(length) * scale).rounded(.toNearestOrEven)))
        }
        let target = (width: side(image.width), height: side(image.height))
        let window = (
            x: (target.width - size) / 2, y: (target.height - size) / 2, width: size, height: size
        )
        return Resampling.resize(image, to: target, by: interpolation, window: window)
    }

    /// float32 (3, size, size) of uint8 (size, size, 3), normalized.
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

/// Any key of an object.
struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}
