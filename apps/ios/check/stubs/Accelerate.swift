@_exported import CoreGraphics

public struct vImage_CGImageFormat {
    public init?(
        bitsPerComponent: Int, bitsPerPixel: Int, colorSpace: CGColorSpace, bitmapInfo: CGBitmapInfo
    ) { nil }
}

public struct vImage_Buffer {
    public var data: UnsafeMutableRawPointer!
    public var width: UInt
    public var height: UInt
    public var rowBytes: Int
    public init(cgImage: CGImage, format: vImage_CGImageFormat) throws { fatalError() }
    public func free() {}
}
