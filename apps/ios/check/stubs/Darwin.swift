import Foundation
@_exported import Glibc

// swift
public struct task_vm_info_data_t { public var phys_footprint: UInt64 = 0; public init() {} }
// swift
public typealias natural_t = UInt32
// swift
public typealias integer_t = Int32
// swift
public typealias mach_msg_type_number_t = UInt32
// swift
public typealias task_flavor_t = UInt32
// swift
public let TASK_VM_INFO: Int32 = 22
// swift
public let KERN_SUCCESS: Int32 = 0
// = mach_task_self_
public let mach_task_self_: UInt32 = 0
// swift
public func task_info(
    _ task: UInt32, _ flavor: task_flavor_t, _ out: UnsafeMutablePointer<integer_t>,
    _ count: UnsafeMutablePointer<mach_msg_type_number_t>
) -> Int32 { 0 }
// = sysctlbyname
public func sysctlbyname(
    _ name: UnsafePointer<CChar>, _ old: UnsafeMutableRawPointer?, _ oldSize: UnsafeMutablePointer<Int>?,
    _ new: UnsafeMutableRawPointer?, _ newSize: Int
) -> Int32 { 0 }

extension ProcessInfo {
    // = NSProcessInfoThermalState.Nominal, NSProcessInfoThermalState.Fair, NSProcessInfoThermalState.Serious, NSProcessInfoThermalState.Critical
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    // = NSProcessInfo.thermalState
    public var thermalState: ThermalState { .nominal }
}
