import Foundation
@_exported import Glibc

public struct mach_task_basic_info { public var resident_size: UInt64 = 0; public init() {} }
public typealias natural_t = UInt32
public typealias integer_t = Int32
public typealias mach_msg_type_number_t = UInt32
public typealias task_flavor_t = UInt32
public let MACH_TASK_BASIC_INFO: Int32 = 20
public let KERN_SUCCESS: Int32 = 0
public let mach_task_self_: UInt32 = 0
public func task_info(
    _ task: UInt32, _ flavor: task_flavor_t, _ out: UnsafeMutablePointer<integer_t>,
    _ count: UnsafeMutablePointer<mach_msg_type_number_t>
) -> Int32 { 0 }
public func sysctlbyname(
    _ name: UnsafePointer<CChar>, _ old: UnsafeMutableRawPointer?, _ oldSize: UnsafeMutablePointer<Int>?,
    _ new: UnsafeMutableRawPointer?, _ newSize: Int
) -> Int32 { 0 }

extension ProcessInfo {
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { .nominal }
}
