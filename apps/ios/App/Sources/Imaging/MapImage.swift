import CoreGraphics
import Foundation
import MobilemodCore
import UIKit

/// A map of an image's classes: bars beside the image have none.
struct Segmented: Sendable {
    let map: ClassMap
    /// The part of the upright image that the map covers.
    let window: MapWindow
    let imageWidth: Int
    let imageHeight: Int
    /// The map's pixels in their classes' colours; where there is no class it is clear.
    let picture: UIImage?

    init(_ map: ClassMap, of image: PixelImage, _ preprocess: Preprocess) {
        window = preprocess.window(imageWidth: image.width, imageHeight: image.height)
        self.map = window.withoutBars(map)
        imageWidth = image.width
        imageHeight = image.height
        picture = MapImage.picture(self.map)
    }
}

enum MapImage {
    /// Nil where there is no memory for it.
    static func picture(_ map: ClassMap) -> UIImage? {
        var rgba: [UInt8] = []
        rgba.reserveCapacity(4 * map.codes.count)
        for code in map.codes { rgba += Palette.colour(Int(code)) + [code == ClassMap.none ? 0 : 255] }
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
              let provider = CGDataProvider(data: Data(rgba) as CFData),
              let image = CGImage(
                width: map.size.width, height: map.size.height, bitsPerComponent: 8, bitsPerPixel: 32,
                bytesPerRow: 4 * map.size.width, space: space,
                bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.last.rawValue), provider: provider,
                decode: nil, shouldInterpolate: false, intent: .defaultIntent
              )
        else { return nil }
        return UIImage(cgImage: image)
    }
}
