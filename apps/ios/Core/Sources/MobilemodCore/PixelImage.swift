/// A decoded image: uint8 RGB, (height, width, 3), row by row.
public struct PixelImage: Equatable, Sendable {
    public let width: Int
    public let height: Int
    public let rgb: [UInt8]

    /// Throws `BadInput` where the bytes don't fit the size.
    public init(width: Int, height: Int, rgb: [UInt8]) throws {
        guard width > 0, height > 0, rgb.count == width * height * 3 else {
            throw BadInput("an image of \(width) x \(height) doesn't have \(rgb.count) RGB bytes")
        }
        self.width = width
        self.height = height
        self.rgb = rgb
    }

    /// From rows of 1 (grey), 3 (RGB) or 4 (RGBA, RGBX) channels; a fourth channel is dropped, not
    /// blended. bytesPerRow: nil where rows follow without padding.
    /// Throws `BadInput` where the bytes don't fit the size.
    public init(
        width: Int, height: Int, channels: Int, bytes: some RandomAccessCollection<UInt8>,
        bytesPerRow: Int? = nil
    ) throws {
        let stride = bytesPerRow ?? width * channels
        guard width > 0, height > 0, [1, 3, 4].contains(channels), stride >= width * channels,
              bytes.count >= stride * (height - 1) + width * channels
        else {
            throw BadInput("an image of \(width) x \(height) x \(channels) doesn't have \(bytes.count) bytes")
        }
        let second = channels == 1 ? 0 : 1, third = channels == 1 ? 0 : 2
        func fill(_ source: UnsafeBufferPointer<UInt8>) -> [UInt8] {
            [UInt8](unsafeUninitializedCapacity: width * height * 3) { out, count in
                var to = 0
                for y in 0..<height {
                    var at = y * stride
                    for _ in 0..<width {
                        out[to] = source[at]
                        out[to + 1] = source[at + second]
                        out[to + 2] = source[at + third]
                        to += 3
                        at += channels
                    }
                }
                count = to
            }
        }
        // Bytes that lie together, as a decoder's do, are read where they are.
        let rgb = bytes.withContiguousStorageIfAvailable(fill) ?? Array(bytes).withUnsafeBufferPointer(fill)
        try self.init(width: width, height: height, rgb: rgb)
    }

    /// Turned and mirrored as an EXIF orientation (1…8) asks; any other value changes nothing.
    public func oriented(_ exif: Int) -> PixelImage {
        if !(2...8).contains(exif) { return self }
        let (w, h) = (width, height)
        let turned = exif >= 5
        let (outWidth, outHeight) = turned ? (h, w) : (w, h)
        var out = [UInt8](repeating: 0, count: rgb.count)
        for y in 0..<outHeight {
            for x in 0..<outWidth {
                let (sx, sy): (Int, Int)
                switch exif {
                case 2: (sx, sy) = (w - 1 - x, y)
                case 3: (sx, sy) = (w - 1 - x, h - 1 - y)
                case 4: (sx, sy) = (x, h - 1 - y)
                case 5: (sx, sy) = (y, x)
                case 6: (sx, sy) = (y, h - 1 - x)
                case 7: (sx, sy) = (w - 1 - y, h - 1 - x)
                default: (sx, sy) = (w - 1 - y, x)
                }
                let from = (sy * w + sx) * 3
                let to = (y * outWidth + x) * 3
                out[to] = rgb[from]
                out[to + 1] = rgb[from + 1]
                out[to + 2] = rgb[from + 2]
            }
        }
        return PixelImage(unchecked: outWidth, outHeight, out)
    }

    /// Of its bytes.
    public var sha256: String { Hash.of(rgb) }

    /// For bytes that are known to fit.
    init(unchecked width: Int, _ height: Int, _ rgb: [UInt8]) {
        self.width = width
        self.height = height
        self.rgb = rgb
    }
}
