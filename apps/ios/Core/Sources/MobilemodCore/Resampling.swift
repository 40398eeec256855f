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
    static let fractionBits = 22

    /// Part of a resized image: columns x…x+width, rows y…y+height of `image` at target size.
    static func resize(
        _ image: PixelImage, to target: (width: Int, height: Int), by interpolation: Interpolation,
        window: (x: Int, y: Int, width: Int, height: Int)
    ) -> PixelImage {
        let columns = ResamplingWeights(
            from: image.width, to: target.width, window.x..<window.x + window.width, interpolation
        )
        let rows = ResamplingWeights(
            from: image.height, to: target.height, window.y..<window.y + window.height, interpolation
        )
        let (across, down) = (columns.sourceRange, rows.sourceRange)
        // Pillow's order, which shows in the last bit.
        if image.height - target.height > max(0, 2 * (image.width - target.width)) {
            let between = ResamplingPass.vertical(image, rows, 0, across)
            return ResamplingPass.horizontal(between, columns, across.lowerBound, 0..<between.height)
        }
        let between = ResamplingPass.horizontal(image, columns, 0, down)
        return ResamplingPass.vertical(between, rows, down.lowerBound, 0..<between.width)
    }
}
