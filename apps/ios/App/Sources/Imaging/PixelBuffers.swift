import CoreVideo
import Foundation
import MobilemodCore

/// Core Video's buffers, 32-bit BGRA, to and from pixels.
enum PixelBuffers {
    /// Throws `BadInput` where there is no memory for it.
    static func make(size: InputSize) throws -> CVPixelBuffer {
        var buffer: CVPixelBuffer?
        let attributes = [kCVPixelBufferIOSurfacePropertiesKey as String: [String: String]()] as CFDictionary
        let status = CVPixelBufferCreate(
            kCFAllocatorDefault, size.width, size.height, kCVPixelFormatType_32BGRA, attributes, &buffer
        )
        guard status == kCVReturnSuccess, let buffer else {
            throw BadInput("no pixel buffer of \(size) (Core Video says \(status))")
        }
        return buffer
    }

    /// Values go in as they are: no colour matching.
    static func fill(_ buffer: CVPixelBuffer, with pixels: PixelImage) throws {
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard CVPixelBufferGetWidth(buffer) == pixels.width, CVPixelBufferGetHeight(buffer) == pixels.height,
              let base = CVPixelBufferGetBaseAddress(buffer)
        else { throw BadInput("a pixel buffer of another size") }
        let stride = CVPixelBufferGetBytesPerRow(buffer)
        pixels.rgb.withUnsafeBufferPointer { rgb in
            for y in 0..<pixels.height {
                let row = base.advanced(by: y * stride).assumingMemoryBound(to: UInt8.self)
                for x in 0..<pixels.width {
                    let from = (y * pixels.width + x) * 3
                    row[4 * x] = rgb[from + 2]
                    row[4 * x + 1] = rgb[from + 1]
                    row[4 * x + 2] = rgb[from]
                    row[4 * x + 3] = 255
                }
            }
        }
    }

    /// Throws `BadInput` for a buffer that isn't 32-bit BGRA.
    static func pixels(_ buffer: CVPixelBuffer) throws -> PixelImage {
        guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA else {
            throw BadInput("the camera gives another pixel format than 32-bit BGRA")
        }
        CVPixelBufferLockBaseAddress(buffer, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw BadInput("an empty camera frame") }
        let (width, height) = (CVPixelBufferGetWidth(buffer), CVPixelBufferGetHeight(buffer))
        let stride = CVPixelBufferGetBytesPerRow(buffer)
        let rgb = [UInt8](unsafeUninitializedCapacity: width * height * 3) { out, count in
            for y in 0..<height {
                let row = base.advanced(by: y * stride).assumingMemoryBound(to: UInt8.self)
                var to = y * width * 3
                for x in 0..<width {
                    out[to] = row[4 * x + 2]
                    out[to + 1] = row[4 * x + 1]
                    out[to + 2] = row[4 * x]
                    to += 3
                }
            }
            count = width * height * 3
        }
        return try PixelImage(width: width, height: height, rgb: rgb)
    }
}
