import Foundation

/// A part of an upright image: its corner and its sides, as fractions of the image's; beyond it where
/// there are bars.
public struct MapWindow: Equatable, Sendable {
    public let left: Double
    public let top: Double
    public let width: Double
    public let height: Double

    public init(left: Double, top: Double, width: Double, height: Double) {
        self.left = left
        self.top = top
        self.width = width
        self.height = height
    }

    /// The map with no class where it lies on bars beside the image.
    public func withoutBars(_ map: ClassMap) -> ClassMap {
        func inside(_ begin: Double, _ length: Double, _ at: Int, _ count: Int) -> Bool {
            (0...1).contains(begin + (Double(at) + 0.5) / Double(count) * length)
        }
        let columns = (0..<map.size.width).map { inside(left, width, $0, map.size.width) }
        let rows = (0..<map.size.height).map { inside(top, height, $0, map.size.height) }
        let codes = map.codes.indices.map { i in
            rows[i / map.size.width] && columns[i % map.size.width] ? map.codes[i] : ClassMap.none
        }
        return ClassMap(map.size, codes)
    }
}

extension Preprocess {
    /// The part of an upright image of so many pixels that becomes the network's input, and so that its
    /// map covers.
    public func window(imageWidth: Int, imageHeight: Int) -> MapWindow {
        let across = Double(size.width) / cropFraction / Double(imageWidth)
        let down = Double(size.height) / cropFraction / Double(imageHeight)
        let scale = fit == .letterbox ? min(across, down) : max(across, down)
        let (byWidth, byHeight) = fit == .stretch ? (across, down) : (scale, scale)
        let width = Double(size.width) / (Double(imageWidth) * byWidth)
        let height = Double(size.height) / (Double(imageHeight) * byHeight)
        return MapWindow(left: (1 - width) / 2, top: (1 - height) / 2, width: width, height: height)
    }
}
