import XCTest
@testable import MobilemodCore

/// A model file's script, by tests/vectors/README.md.
private struct Script {
    let refuses: Set<Int>
    let lacks: Set<Int>
    let fails: [(first: Int, last: Int?)]
    let milliseconds: [Double]
    let logits: [Float]

    init(_ value: JSON) throws {
        refuses = Set(try Vectors.list(value, "refuses").compactMap(\.int))
        lacks = Set(try Vectors.list(value, "lacks").compactMap(\.int))
        fails = try Vectors.list(value, "fails").map { range in
            let ends = try XCTUnwrap(range.array)
            return (try XCTUnwrap(ends[0].int), ends[1].int)
        }
        milliseconds = try Vectors.doubles(value, "ms")
        logits = try Vectors.list(value, "logits").map { $0.double.map { Float($0) } ?? .nan }
    }
}

/// Models of a case, a clock that they alone move, and a log of what they are fed.
private final class ScriptedDevice: Device, @unchecked Sendable {
    static let size = 32

    let facts = DeviceFacts(kind: "test", appName: "tests", appVersion: "1")
    var calls: [[Int]] = []
    private let job: Job
    private let scripts: [Script]
    private let shades: [Data: Int]
    private var clock = 0.0
    /// Of a network of maps.
    private var classes: Int?
    private var loads: [Int]
    private var inferences: [Int]

    init(_ job: Job, _ scripts: [Script], _ shades: [Data: Int]) {
        self.job = job
        self.scripts = scripts
        self.shades = shades
        loads = scripts.map { _ in 0 }
        inferences = loads
    }

    func state() -> DeviceState { DeviceState() }
    func now() -> Double { clock }

    func decode(_ data: Data) throws -> PixelImage {
        guard let shade = shades[data] else { throw BadInput("no image") }
        let size = ScriptedDevice.size
        return try PixelImage(
            width: size, height: size, rgb: [UInt8](repeating: UInt8(shade), count: 3 * size * size)
        )
    }

    func load(
        _ file: Job.ModelFile, at url: URL, configuration: Job.Configuration, manifest: Manifest
    ) async throws -> Engine {
        let index = try XCTUnwrap(job.configurations.firstIndex(of: configuration))
        loads[index] += 1
        if scripts[index].lacks.contains(loads[index] - 1) { throw Unavailable("no such unit") }
        if scripts[index].refuses.contains(loads[index] - 1) { throw BadInput("refused") }
        classes = manifest.map == nil ? nil : manifest.classCount
        return ScriptedEngine(self, index)
    }

    /// since: inferences of the same load before.
    func infer(_ index: Int, _ shade: Int, since: Int) throws -> [Float] {
        if let last = calls.last, last[0] == index, last[1] == shade {
            calls[calls.count - 1][2] += 1
        } else {
            calls.append([index, shade, 1])
        }
        let script = scripts[index], call = inferences[index]
        inferences[index] += 1
        for (first, last) in script.fails where first <= call && call <= last ?? .max {
            throw BadInput("failed")
        }
        clock += script.milliseconds[min(since, script.milliseconds.count - 1)] / 1e3
        guard let classes else { return script.logits }
        // Class by class; a .tflite file has them last.
        let pixels = script.logits.count / classes
        return script.logits.indices.map { script.logits[$0 % classes * pixels + $0 / classes] }
    }
}

private final class ScriptedEngine: Engine, @unchecked Sendable {
    let runtime = "scripted"
    let partitions: Int? = nil
    private let device: ScriptedDevice
    private let index: Int
    private var since = 0
    private var shade = 0

    init(_ device: ScriptedDevice, _ index: Int) {
        self.device = device
        self.index = index
    }

    func prepare(_ pixels: PixelImage) throws { shade = Int(pixels.rgb[0]) }

    func run() throws -> [Float] {
        let logits = try device.infer(index, shade, since: since)
        since += 1
        return logits
    }
}

/// Jobs with scripted models: lines and inferences are those that every runner must give.
final class RunsTests: XCTestCase {
    private static let kept = [
        "type", "configuration", "phase", "image", "source", "cold", "first", "where", "fatal",
        "answered", "timed", "errors",
    ]
    private var root = URL(fileURLWithPath: "/")

    override func setUpWithError() throws {
        root = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    }

    override func tearDownWithError() throws {
        try? FileManager.default.removeItem(at: root)
    }

    func testEveryCaseGivesItsLines() async throws { try await runAll("runs.json", moreThan: 40) }

    func testEveryCaseOfMapsGivesItsLines() async throws { try await runAll("maps_runs.json", moreThan: 8) }

    private func runAll(_ name: String, moreThan count: Int) async throws {
        let vectors = try Vectors.read(name)
        let files = try contents(vectors, "files")
        var shades: [Data: Int] = [:]
        for member in try XCTUnwrap(vectors["shades"]?.members) {
            shades[try XCTUnwrap(files[member.key])] = member.value.int
        }
        let cases = try Vectors.list(vectors, "cases")
        XCTAssertGreaterThan(cases.count, count)
        for one in cases { try await run(one, files, shades) }
    }

    private func contents(_ value: JSON, _ key: String) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for member in try XCTUnwrap(value[key]?.members) {
            found[member.key] = try XCTUnwrap(Data(base64Encoded: member.value.string ?? ""))
        }
        return found
    }

    private func run(_ one: JSON, _ files: [String: Data], _ shades: [Data: Int]) async throws {
        let name = try XCTUnwrap(one["name"]?.string)
        let values = try XCTUnwrap(one["job"]), id = try XCTUnwrap(values["id"]?.string)
        let store = JobStore(root: root.appendingPathComponent(UUID().uuidString))
        let folder = store.root.appendingPathComponent("jobs/\(id)")
        var all = try files.merging(contents(one, "changed")) { $1 }
        all[Job.fileName] = Data(values.text.utf8)
        if let resume = one["resume"], resume.members != nil { all[Resume.fileName] = Data(resume.text.utf8) }
        let held = try Vectors.list(one, "held").compactMap(\.string)
        for (path, data) in all { try write(data, to: folder.appendingPathComponent(path)) }
        try write(Data(held.joined(separator: "\n").utf8), to: store.record(id))

        let opened = try store.open(id)
        let device = ScriptedDevice(opened.job, try Vectors.list(one, "engines").map(Script.init), shades)
        do {
            try await JobRunner(folder: opened, record: store.record(id), device: device).run()
        } catch is BadInput {
            // A fatal fault, which the lines tell.
        }
        var lines: [JSON] = []
        try RecordFile.forEachLine(of: store.record(id)) { line in
            lines.append(Line.decode(line) ?? .null)
        }
        let written = lines.dropFirst(held.count).map { plain(skeleton($0)) }
        let expected = try Vectors.list(one, "lines").map(plain)
        for (number, pair) in zip(written, expected).enumerated() where pair.0 != pair.1 {
            return XCTFail("\(name), line \(number): \(pair.0), not \(pair.1)")
        }
        XCTAssertEqual(written.count, expected.count, name)
        let calls = try Vectors.list(one, "calls").map { $0.array?.compactMap(\.int) }
        XCTAssertEqual(device.calls, calls, name)
    }

    private func write(_ data: Data, to url: URL) throws {
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true
        )
        try data.write(to: url)
    }

    /// A line without what differs between devices and times.
    private func skeleton(_ line: JSON) -> JSON {
        var found = (line.members ?? []).filter { RunsTests.kept.contains($0.key) && $0.value != .null }
        if let milliseconds = line["ms"]?.array { found.append(.init("count", .integer(milliseconds.count))) }
        if let top = line["top"]?.array {
            found.append(.init("top", .array(top.map { $0.array?.first ?? .null })))
        }
        if ["image", "golden"].contains(line["type"]?.string) {
            found.append(.init("logits", line["logits"] ?? .null))
        }
        if let runs = line["runs"] {
            found.append(.init("runs", runs))
            if let digest = line["logits_sha256"] { found.append(.init("logits_sha256", digest)) }
        }
        return .object(found)
    }

    /// With sorted keys, and numbers written in one way.
    private func plain(_ value: JSON) -> String { numbers(value).sorted.text }

    private func numbers(_ value: JSON) -> JSON {
        switch value {
        case .number: .real(value.double ?? .nan)
        case .array(let values): .array(values.map(numbers))
        case .object(let members): .object(members.map { .init($0.key, numbers($0.value)) })
        default: value
        }
    }
}
