import Accelerate
import CoreGraphics
import Foundation
import ImageIO
import MobilemodCore

/// Image files to pixels, oriented: values as they stand in the file, in the image's own colour
/// space and without blending, as the kit's Python decodes them.
enum ImageDecoder {
    /// Throws `BadInput` for what is no image, and what vImage throws.
    static func decode(_ data: Data) throws -> PixelImage {
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
              let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw BadInput("no image that this device can decode") }
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [String: Any]
        let orientation = properties?[kCGImagePropertyOrientation as String] as? Int ?? 1
        return try pixels(image).oriented(orientation)
    }

    private static func pixels(_ image: CGImage) throws -> PixelImage {
        let grey = image.colorSpace?.model == .monochrome && image.alphaInfo == .none
        // Converted to its own space, no value changes. A space that isn't RGB goes to sRGB.
        let own = image.colorSpace.flatMap { $0.model == .rgb || grey ? $0 : nil }
        guard let space = own ?? CGColorSpace(name: CGColorSpace.sRGB),
              let format = vImage_CGImageFormat(
                  bitsPerComponent: 8, bitsPerPixel: grey ? 8 : 32, colorSpace: space,
                  // Not premultiplied, so that dropping alpha doesn't darken.
                  bitmapInfo: CGBitmapInfo(rawValue: (grey ? CGImageAlphaInfo.none : .last).rawValue)
              )
        else { throw BadInput("an image in a colour space that this device doesn't know") }
        let buffer = try vImage_Buffer(cgImage: image, format: format)
        defer { buffer.free() }
        let bytes = UnsafeRawBufferPointer(start: buffer.data, count: buffer.rowBytes * Int(buffer.height))
        return try PixelImage(
            width: Int(buffer.width), height: Int(buffer.height), channels: grey ? 1 : 4,
            bytes: bytes, bytesPerRow: buffer.rowBytes
        )
    }
}
