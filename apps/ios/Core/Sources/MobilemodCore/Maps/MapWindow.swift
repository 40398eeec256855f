import Foundation

/// A part of an upright image: its corner and its sides, as fractions of the image's.
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
}

extension Preprocess {
    /// The part of an upright image of so many pixels that becomes the network's input, and so that its
    /// map covers.
    public func window(imageWidth: Int, imageHeight: Int) -> MapWindow {
        let across = Double(size.width) / cropFraction / Double(imageWidth)
        let down = Double(size.height) / cropFraction / Double(imageHeight)
        let covering = max(across, down)
        let (byWidth, byHeight) = fit == .stretch ? (across, down) : (covering, covering)
        let width = Double(size.width) / (Double(imageWidth) * byWidth)
        let height = Double(size.height) / (Double(imageHeight) * byHeight)
        return MapWindow(left: (1 - width) / 2, top: (1 - height) / 2, width: width, height: height)
    }
}
