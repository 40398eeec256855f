@_exported import CoreGraphics

// swift
public final class CVBuffer: @unchecked Sendable { init() {} }
// swift
public typealias CVImageBuffer = CVBuffer
// swift
public typealias CVPixelBuffer = CVBuffer
// swift
public typealias CVReturn = Int32
// swift
public typealias OSType = UInt32
// swift
public struct CVPixelBufferLockFlags: OptionSet, Sendable {
    // swift
    public let rawValue: UInt64
    // swift
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    // = CVPixelBufferLockFlags.kCVPixelBufferLock_ReadOnly
    public static let readOnly = CVPixelBufferLockFlags(rawValue: 1)
}
// = kCVReturnSuccess
public let kCVReturnSuccess: CVReturn = 0
// = kCVPixelFormatType_32BGRA
public let kCVPixelFormatType_32BGRA: OSType = 0
// = kCVPixelBufferPixelFormatTypeKey
public let kCVPixelBufferPixelFormatTypeKey: CFString = ""
// = kCVPixelBufferIOSurfacePropertiesKey
public let kCVPixelBufferIOSurfacePropertiesKey: CFString = ""
// = CVPixelBufferCreate
public func CVPixelBufferCreate(
    _ allocator: CFAllocator?, _ width: Int, _ height: Int, _ format: OSType, _ attributes: CFDictionary?,
    _ out: UnsafeMutablePointer<CVPixelBuffer?>
) -> CVReturn { 0 }
@discardableResult
// = CVPixelBufferLockBaseAddress
public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { 0 }
@discardableResult
// = CVPixelBufferUnlockBaseAddress
public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { 0 }
// = CVPixelBufferGetBaseAddress
public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? { nil }
// = CVPixelBufferGetBytesPerRow
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { 0 }
// = CVPixelBufferGetWidth
public func CVPixelBufferGetWidth(_ buffer: CVPixelBuffer) -> Int { 0 }
// = CVPixelBufferGetHeight
public func CVPixelBufferGetHeight(_ buffer: CVPixelBuffer) -> Int { 0 }
// = CVPixelBufferGetPixelFormatType
public func CVPixelBufferGetPixelFormatType(_ buffer: CVPixelBuffer) -> OSType { 0 }
