import Foundation

public typealias CFString = String
public typealias CFData = Data
public typealias CFDictionary = [String: Any]
public typealias CFAllocator = Int
public let kCFAllocatorDefault: CFAllocator? = nil

public final class CGColorSpace {
    public static let sRGB: CFString = ""
    public init?(name: CFString) { nil }
    public var model: CGColorSpaceModel { fatalError() }
}

public enum CGColorSpaceModel { case monochrome, rgb }

public enum CGImageAlphaInfo: UInt32 { case none = 0, last = 3 }

public struct CGBitmapInfo: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

public final class CGImage {
    init() {}
    public var colorSpace: CGColorSpace? { fatalError() }
    public var alphaInfo: CGImageAlphaInfo { fatalError() }
}
