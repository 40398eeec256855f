import Foundation

/// The colours of classes, as reports have them.
public enum Palette {
    private static let nothing: [UInt8] = [232, 232, 232]
    private static let colours = (0...255).map { $0 == ClassMap.none ? nothing : byBits($0 + 1) }

    /// Red, green and blue of a code, 0 to 255.
    public static func colour(_ code: Int) -> [UInt8] { colours[code] }

    /// By the bits of the class's number. Source: the colour map of the PASCAL VOC development kit,
    /// from its colour 1 on, for its colour 0 is black.
    private static func byBits(_ number: Int) -> [UInt8] {
        var colour: [UInt8] = [0, 0, 0]
        for step in 0..<8 {
            for channel in 0..<3 {
                let bit = number >> (3 * step + channel) & 1
                colour[channel] |= UInt8(bit << (7 - step))
            }
        }
        return colour
    }
}
