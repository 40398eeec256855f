import Darwin
import Foundation
import MobilemodCore

/// This device, as the harness and the benchmark see it.
struct Phone: Device, Sendable {
    let battery: Battery

    var facts: DeviceFacts {
        let info = ProcessInfo.processInfo
        var runtimes = ["Core ML": info.operatingSystemVersionString]
        if EngineLoader.targets.contains(EngineLoader.coreAI) { runtimes["Core AI"] = info.operatingSystemVersionString }
        #if canImport(ExecuTorch)
        runtimes["ExecuTorch"] = AppFacts.executorchVersion
        #endif
        return DeviceFacts(
            kind: "iphone", model: Phone.system("hw.machine"),
            os: "iOS \(info.operatingSystemVersionString)", processor: nil,
            cores: info.activeProcessorCount, memoryBytes: Int(info.physicalMemory),
            appName: AppFacts.name, appVersion: AppFacts.version, runtimes: runtimes
        )
    }

    func state() -> DeviceState {
        let charge = battery.charge
        return DeviceState(
            thermal: Phone.thermal(ProcessInfo.processInfo.thermalState),
            batteryLevel: charge.level, charging: charge.charging, memoryBytes: Phone.footprint()
        )
    }

    func now() -> Double { Clock.seconds() }

    func decode(_ data: Data) throws -> PixelImage { try ImageDecoder.decode(data) }

    func install(_ file: Job.ModelFile, at url: URL) async throws {
        if file.target == EngineLoader.coreML { _ = try await CompiledModels.compiled(url, sha256: file.sha256) }
    }

    func load(
        _ file: Job.ModelFile, at url: URL, configuration: Job.Configuration, manifest: Manifest
    ) async throws -> Engine {
        try await EngineLoader.load(
            url, target: file.target, sha256: file.sha256, delegate: configuration.delegate,
            threads: configuration.threads, manifest: manifest
        )
    }

    /// By the protocol's names.
    static func thermal(_ state: ProcessInfo.ThermalState) -> String? {
        switch state {
        case .nominal: return "nominal"
        case .fair: return "fair"
        case .serious: return "serious"
        case .critical: return "critical"
        @unknown default: return nil
        }
    }

    private static func system(_ name: String) -> String? {
        var size = 0
        guard sysctlbyname(name, nil, &size, nil, 0) == 0, size > 0 else { return nil }
        var bytes = [CChar](repeating: 0, count: size)
        guard sysctlbyname(name, &bytes, &size, nil, 0) == 0 else { return nil }
        return String(cString: bytes)
    }

    /// What the system counts as this process's memory and ends it for, compressed pages too; nil where it
    /// doesn't tell.
    static func footprint() -> Int? {
        var info = task_vm_info_data_t()
        let words = MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size
        var count = mach_msg_type_number_t(words)
        let status = withUnsafeMutablePointer(to: &info) { pointer in
            pointer.withMemoryRebound(to: integer_t.self, capacity: words) {
                task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
            }
        }
        return status == KERN_SUCCESS ? Int(info.phys_footprint) : nil
    }
}
