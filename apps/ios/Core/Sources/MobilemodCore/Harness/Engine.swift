import Foundation

/// A model file, loaded. It may be handed from one thread to another, but serves one at a time: who
/// conforms may say `@unchecked Sendable`.
public protocol Engine: AnyObject, Sendable {
    /// What runs it, for people: name, version, where.
    var runtime: String { get }
    /// Subgraphs that went to the delegate; nil where the runtime doesn't tell.
    var partitions: Int? { get }
    /// Ops by what runs them ("CPU", "GPU", "Neural Engine"); nil where the runtime doesn't tell, or
    /// may use the CPU alone. Finding out may take as long as a load.
    var placed: [String: Int]? { get async throws }

    /// Keeps the next input: uint8 (height, width, 3). Normalizes or copies as the runtime takes it, so
    /// that `run` is the inference alone.
    func prepare(_ pixels: PixelImage) throws
    /// Logits, float32 (K,), of the input that was prepared last; a map's codes as numbers.
    func run() throws -> [Float]
}

extension Engine {
    public var placed: [String: Int]? { get async throws { nil } }
}

/// This device has nothing that a configuration could run on: no error, but told as that.
public struct Unavailable: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// A device as its first line describes it; what isn't known is nil.
public struct DeviceFacts: Equatable, Sendable {
    public var kind: String
    public var model: String?
    public var os: String?
    public var processor: String?
    public var cores: Int?
    public var memoryBytes: Int?
    public var appName: String
    public var appVersion: String
    public var runtimes: [String: String]

    public init(
        kind: String, model: String? = nil, os: String? = nil, processor: String? = nil,
        cores: Int? = nil, memoryBytes: Int? = nil, appName: String, appVersion: String,
        runtimes: [String: String] = [:]
    ) {
        self.kind = kind
        self.model = model
        self.os = os
        self.processor = processor
        self.cores = cores
        self.memoryBytes = memoryBytes
        self.appName = appName
        self.appVersion = appVersion
        self.runtimes = runtimes
    }
}

extension DeviceFacts {
    /// As a `hello` line has them.
    var members: [JSON.Member] {
        let versions = runtimes.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .string($0.value)) }
        return [
            .init("device", .object([
                .init("kind", .string(kind)), .init("model", .text(model)), .init("os", .text(os)),
                .init("processor", .text(processor)), .init("cores", .integer(cores)),
                .init("memory_bytes", .integer(memoryBytes)),
            ])),
            .init("app", .object([.init("name", .string(appName)), .init("version", .string(appVersion))])),
            .init("runtimes", .object(versions)),
        ]
    }
}

/// A device as it is at the moment. thermal: "nominal", "fair", "serious", "critical"; battery: 0…1.
public struct DeviceState: Equatable, Sendable {
    public var thermal: String?
    public var temperatureC: Double?
    public var batteryLevel: Double?
    public var charging: Bool?
    public var memoryBytes: Int?

    public init(
        thermal: String? = nil, temperatureC: Double? = nil, batteryLevel: Double? = nil,
        charging: Bool? = nil, memoryBytes: Int? = nil
    ) {
        self.thermal = thermal
        self.temperatureC = temperatureC
        self.batteryLevel = batteryLevel
        self.charging = charging
        self.memoryBytes = memoryBytes
    }

    /// A `state` line's members.
    public var members: [JSON.Member] {
        var battery = JSON.null
        if let batteryLevel {
            battery = .object([
                .init("level", .real(batteryLevel)), .init("charging", charging.map { .bool($0) } ?? .null),
            ])
        }
        return [
            .init("thermal", .text(thermal)), .init("temperature_c", .real(temperatureC)),
            .init("battery", battery), .init("memory_bytes", .integer(memoryBytes)),
            .init("frequencies_hz", .null),
        ]
    }
}

/// What a job needs of the device it runs on.
public protocol Device {
    var facts: DeviceFacts { get }
    func state() -> DeviceState
    /// Seconds of a clock that never goes back.
    func now() -> Double
    /// A decoded image, oriented. Throws where it can't be decoded.
    func decode(_ data: Data) throws -> PixelImage
    /// What has to be done once before a file can be loaded, compiling say: no part of a load's time.
    func install(_ file: Job.ModelFile, at url: URL) async throws
    /// A fresh load. Throws where the file can't be used here; `Unavailable` where nothing here could
    /// run it.
    func load(
        _ file: Job.ModelFile, at url: URL, configuration: Job.Configuration, manifest: Manifest
    ) async throws -> Engine
}

extension Device {
    public func install(_ file: Job.ModelFile, at url: URL) async throws {}
}
