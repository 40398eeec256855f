import Foundation

// swift
public typealias CFString = String
// swift
public typealias CFData = Data
// swift
public typealias CFDictionary = [String: Any]
// swift
public typealias CFAllocator = Int
// = kCFAllocatorDefault
public let kCFAllocatorDefault: CFAllocator? = nil

// swift
public final class CGColorSpace {
    // = kCGColorSpaceSRGB
    public static let sRGB: CFString = ""
    // = CGColorSpaceCreateWithName
    public init?(name: CFString) { nil }
    // = CGColorSpaceGetModel
    public var model: CGColorSpaceModel { fatalError() }
}

// = CGColorSpaceModel.kCGColorSpaceModelMonochrome, CGColorSpaceModel.kCGColorSpaceModelRGB
public enum CGColorSpaceModel { case monochrome, rgb }

// = CGImageAlphaInfo.kCGImageAlphaNone, CGImageAlphaInfo.kCGImageAlphaLast
public enum CGImageAlphaInfo: UInt32 { case none = 0, last = 3 }

// swift
public struct CGBitmapInfo: OptionSet, Sendable {
    // swift
    public let rawValue: UInt32
    // swift
    public init(rawValue: UInt32) { self.rawValue = rawValue }
}

// swift
public final class CGDataProvider {
    // = CGDataProviderCreateWithCFData
    public init?(data: CFData) { nil }
}

// = CGColorRenderingIntent.kCGRenderingIntentDefault
public enum CGColorRenderingIntent { case defaultIntent }

// swift
public final class CGImage {
    init() {}
    // = CGImageCreate
    public init?(
        width: Int, height: Int, bitsPerComponent: Int, bitsPerPixel: Int, bytesPerRow: Int,
        space: CGColorSpace, bitmapInfo: CGBitmapInfo, provider: CGDataProvider,
        decode: UnsafePointer<CGFloat>?, shouldInterpolate: Bool, intent: CGColorRenderingIntent
    ) { nil }
    // = CGImageGetColorSpace
    public var colorSpace: CGColorSpace? { fatalError() }
    // = CGImageGetAlphaInfo
    public var alphaInfo: CGImageAlphaInfo { fatalError() }
}
