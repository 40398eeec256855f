@_exported import CoreGraphics
import Foundation

// swift
public final class CGImageSource {}
// = kCGImagePropertyOrientation
public let kCGImagePropertyOrientation: CFString = ""
// = CGImageSourceCreateWithData
public func CGImageSourceCreateWithData(_ data: CFData, _ options: CFDictionary?) -> CGImageSource? { nil }
// = CGImageSourceCreateImageAtIndex
public func CGImageSourceCreateImageAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> CGImage? { nil }
// A CFDictionary, which becomes a Swift dictionary by a cast.
// = CGImageSourceCopyPropertiesAtIndex
public func CGImageSourceCopyPropertiesAtIndex(
    _ source: CGImageSource, _ index: Int, _ options: CFDictionary?
) -> AnyObject? { nil }
