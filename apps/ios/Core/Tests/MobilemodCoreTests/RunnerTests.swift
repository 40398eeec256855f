import XCTest
@testable import MobilemodCore

/// Decodes PPM, and runs QuarterEngine; counts what it is asked for.
private final class QuarterDevice: Device {
    var facts: DeviceFacts { DeviceFacts(kind: "test", appName: "tests", appVersion: "1") }
    var loads = 0
    var decoded = 0
    /// Decoding the image of this number (from 0, over the device's life) ends the job.
    var killAt: Int?
    var slowness: [String: Double] = [:]
    private var clock = 0.0

    func state() -> DeviceState { DeviceState(thermal: "nominal", memoryBytes: 1) }
    func now() -> Double { clock += 0.001; return clock }

    func decode(_ data: Data) throws -> PixelImage {
        if decoded == killAt { throw CancellationError() }
        decoded += 1
        let parts = data.split(separator: 0x0A, maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0].elementsEqual("P6".utf8) else { throw BadInput("no PPM") }
        let size = String(decoding: parts[1], as: UTF8.self).split(separator: " ").compactMap { Int($0) }
        return try PixelImage(width: size[0], height: size[1], rgb: [UInt8](parts[3]))
    }

    func load(
        _ file: Job.ModelFile, at url: URL, configuration: Job.Configuration, manifest: Manifest
    ) async throws -> Engine {
        loads += 1
        return QuarterEngine(manifest.preprocess, classes: manifest.classCount)
    }
}

final class RunnerTests: XCTestCase {
    private var root = URL(fileURLWithPath: "/")

    override func setUpWithError() throws {
        root = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    }

    override func tearDownWithError() throws {
        try? FileManager.default.removeItem(at: root)
    }

    private func ppm(_ seed: Int) throws -> Data {
        let image = try Drawing.image(seed % 2 == 0 ? "ramp" : "noise", width: 70 + seed, height: 66, channels: 3)
        return Data("P6\n\(image.width) \(image.height)\n255\n".utf8) + Data(image.rgb)
    }

    /// A folder of labelled images becomes a job whose record says how many answers are right. The job's
    /// folder is gone after a run that failed, and after one that ended; the record is kept.
    func testAccuracyJob() async throws {
        let name = "golden/0.ppm", pixels = try Drawing.image("ramp", width: 32, height: 32, channels: 3)
        let golden = Data("P6\n32 32\n255\n".utf8) + Data(pixels.rgb)
        let made = try manifest(size: 32, classes: 5, golden: [.init(image: name, logits: ["a.pte": [0, 0, 0, 0, 0]])])
        let folder = root.appendingPathComponent("images"), manager = FileManager.default
        for (index, name) in ["n1", "class 3", "other"].enumerated() {
            let place = folder.appendingPathComponent(name)
            try manager.createDirectory(at: place, withIntermediateDirectories: true)
            for number in 0..<3 { try ppm(3 * index + number).write(to: place.appendingPathComponent("\(number).ppm")) }
        }
        try Data("no image".utf8).write(to: folder.appendingPathComponent("n1/9.ppm"))
        let images = try AccuracyJob.images(below: folder, made)
        XCTAssertEqual(images.map(\.classIndex), [1, 1, 1, 1, 3, 3, 3])
        let model = root.appendingPathComponent("a.pte")
        try Data("model".utf8).write(to: model)
        let device = QuarterDevice(), store = JobStore(root: root), manifestData = try JSONEncoder().encode(made)
        func laid() throws -> AccuracyJob {
            try AccuracyJob.make(
                in: store, made, manifestData: manifestData,
                [.init(file: made.files[0], url: model, delegate: "xnnpack", threads: 1)], images,
                golden: { $0 == name ? golden : Data() }, decode: device.decode
            )
        }
        let damaged = try laid()
        XCTAssertEqual(store.ids(), [damaged.id])
        try Data("another".utf8).write(to: root.appendingPathComponent("jobs/\(damaged.id)/models/a.pte"))
        do {
            _ = try await damaged.run(in: store, device: device)
            XCTFail("another file was run")
        } catch is BadInput {
        }
        XCTAssertEqual(store.ids(), [])
        let job = try laid()
        XCTAssertEqual(job.id, damaged.id)
        let outcome = try await job.run(in: store, device: device)
        XCTAssertEqual(try manager.contentsOfDirectory(atPath: root.appendingPathComponent("jobs").path), [])
        XCTAssertTrue(manager.fileExists(atPath: store.record(job.id).path))
        let engine = QuarterEngine(made.preprocess, classes: 5)
        let right = try images.filter { $0.name != "n1/9.ppm" }.filter { image in
            try engine.prepare(made.preprocess.pixels(QuarterDevice().decode(Data(contentsOf: image.url))))
            return try Logits.top(engine.run(), 1)[0].classIndex == image.classIndex
        }
        XCTAssertEqual(outcome, AccuracyJob.Outcome(count: 6, correct: [right.count], changed: []))
        XCTAssertThrowsError(try AccuracyJob.images(below: folder.appendingPathComponent("n1"), made))
        let kept = try Data(contentsOf: AccuracyJob.description(of: store.record(job.id)))
        XCTAssertEqual(try Job.read(kept).id, job.id)
        XCTAssertEqual(try Job.read(kept).golden.map(\.path), [name])
        let said = try String(contentsOf: store.record(job.id), encoding: .utf8)
        XCTAssertEqual(said.components(separatedBy: #""type":"golden""#).count, 3, "the pixels and the image")

        // What the build compiled is called by the manifest's hash of its package.
        let compiled = root.appendingPathComponent("a.mlmodelc", isDirectory: true)
        try manager.createDirectory(at: compiled, withIntermediateDirectories: true)
        try Data("code".utf8).write(to: compiled.appendingPathComponent("model.mil"))
        let package = try AccuracyJob.make(
            in: store, made, manifestData: manifestData,
            [.init(file: made.files[0], url: compiled, delegate: "all", threads: 1)], images,
            golden: { _ in golden }, decode: device.decode
        )
        let laidJob = try Job.read(Data(contentsOf: AccuracyJob.description(of: store.record(package.id))))
        XCTAssertEqual(laidJob.files.map(\.sha256), made.files.map(\.sha256))
        let again = try await package.run(in: store, device: device)
        XCTAssertEqual(again, outcome)
    }

    /// A job of two files, images and times, laid into `root`; returns its id.
    private func layJob(
        images: Int = 6, size: Int = 64, classes: Int = 5, latency: JSON = .null, change: (URL) throws -> Void = { _ in }
    ) throws -> String {
        let manifestData = try JSONEncoder().encode(manifest(size: size, classes: classes))
        let inputs = try (0..<images).map { try ppm($0) }
        let golden = Data("P6\n\(size) \(size)\n255\n".utf8)
            + Data(try Drawing.image("ramp", width: size, height: size, channels: 3).rgb)
        let model = Data("model".utf8)
        let values: [JSON.Member] = [
            .init("schema", .string(Job.schema)), .init("model", .string("größe \"x\"")),
            .init("manifest", Jobs.hashed("manifest.json", Hash.of(manifestData))),
            .init("files", .array([
                Jobs.file("a_int8.pte", sha256: Hash.of(model), twin: "a_float32.pte"),
                Jobs.file("a_float32.pte", sha256: Hash.of(model), twin: nil),
            ])),
            .init("inputs", .object([
                .init("kind", .string("images")), .init("count", .integer(images)),
                .init("items", .array(inputs.enumerated().map { index, data in
                    .object([
                        .init("name", .string("image; rm -rf / \(index)")),
                        .init("path", .string("inputs/00000\(index).ppm")),
                        .init("sha256", .string(Hash.of(data))), .init("target", .null),
                    ])
                })),
            ])),
            .init("golden", .array([Jobs.hashed("golden/0.ppm", Hash.of(golden))])),
            .init("configurations", .array([
                Jobs.configuration("a_int8.pte"), Jobs.configuration("a_float32.pte"),
                Jobs.configuration("a_int8.pte", threads: 2),
            ])),
            .init("accuracy", .bool(true)), .init("latency", latency),
            .init("sustained_seconds", latency == .null ? .integer(0) : .number("0.2")),
            .init("logits", .bool(true)),
        ]
        let job = Jobs.withID(values)
        let id = try XCTUnwrap(job["id"]?.string)
        let folder = root.appendingPathComponent("jobs/\(id)")
        for name in ["models", "inputs", "golden"] {
            try FileManager.default.createDirectory(
                at: folder.appendingPathComponent(name), withIntermediateDirectories: true
            )
        }
        try Data(job.text.utf8).write(to: folder.appendingPathComponent("job.json"))
        try manifestData.write(to: folder.appendingPathComponent("manifest.json"))
        try golden.write(to: folder.appendingPathComponent("golden/0.ppm"))
        for name in ["a_int8.pte", "a_float32.pte"] { try model.write(to: folder.appendingPathComponent("models/\(name)")) }
        for (index, data) in inputs.enumerated() {
            try data.write(to: folder.appendingPathComponent("inputs/00000\(index).ppm"))
        }
        try change(folder)
        return id
    }

    private func run(_ id: String, _ device: Device) async throws {
        let store = JobStore(root: root)
        try await JobRunner(folder: store.open(id), record: store.record(id), device: device).run()
    }

    private func lines(_ id: String) throws -> [JSON] {
        var found: [JSON] = []
        try RecordFile.forEachLine(of: JobStore(root: root).record(id)) { line in
            if let value = Line.decode(line) { found.append(value) }
        }
        return found
    }

    private func images(_ lines: [JSON]) -> [String] {
        lines.filter { $0["type"]?.string == "image" }
            .map { "\($0["configuration"]!.int!)/\($0["image"]!.int!)" }
    }

    func testWholeJobInOrder() async throws {
        let id = try layJob(latency: .object([
            .init("warm_up_seconds", .integer(0)), .init("warm_up_max", .integer(20)),
            .init("min_runs", .integer(130)), .init("min_seconds", .number("0.01")), .init("cold_starts", .integer(3)),
        ]))
        try await run(id, QuarterDevice())
        let lines = try lines(id)
        let types = lines.compactMap { $0["type"]?.string }
        XCTAssertEqual(types.first, "hello")
        XCTAssertEqual(types.last, "done")
        XCTAssertEqual(lines.map { $0["seq"]?.int }, Array(0..<lines.count))
        XCTAssertEqual(images(lines), (0..<6).map { "0/\($0)" } + (0..<6).map { "1/\($0)" })
        // Each configuration once for its answers, three cold starts of each, and the sustained runs.
        XCTAssertEqual(lines.filter { $0["type"]?.string == "load" }.map { "\($0["configuration"]!.int!)/\($0["cold"]!.int!)" },
                       ["0/0", "1/0", "2/0", "0/1", "0/2", "0/3", "1/1", "1/2", "1/3", "2/1", "2/2", "2/3",
                        "0/4", "1/4", "2/4"])
        let finished = lines.filter { $0["type"]?.string == "finished" }
            .map { "\($0["configuration"]!.int!) \($0["phase"]!.string!)" }
        XCTAssertEqual(finished, [
            "0 golden", "0 accuracy", "1 golden", "1 accuracy", "2 golden", "0 latency", "1 latency",
            "2 latency", "0 sustained", "1 sustained", "2 sustained",
        ])
        let steady = lines.filter { $0["phase"]?.string == "steady" && $0["configuration"]?.int == 0 }
        XCTAssertEqual(steady.map { $0["first"]?.int }, [0, 64, 128])
        XCTAssertGreaterThanOrEqual(steady.map { $0["ms"]!.array!.count }.reduce(0, +), 130)
        // Twins in turns, the one to begin alternating: the begins interleave.
        let at = { (configuration: Int) in
            lines.filter { $0["phase"]?.string == "steady" && $0["configuration"]?.int == configuration }
                .flatMap { $0["at"]!.array!.map { $0.double! } }
        }
        let first = zip(at(0), at(1)).map { $0 < $1 }
        XCTAssertEqual(first.prefix(4), [true, false, true, false])
        let done = try XCTUnwrap(lines.last)
        XCTAssertEqual(done["answered"]?.int, 12)
        XCTAssertEqual(done["errors"]?.int, 0)
        let values = lines.filter { $0["type"]?.string == "times" }.map { $0["ms"]!.array!.count }
        XCTAssertEqual(done["timed"]?.int, values.reduce(0, +))
        XCTAssertTrue(values.allSatisfy { $0 <= 64 })
        // Golden values through both ways, the same job twice gives the same logits.
        XCTAssertEqual(lines.filter { $0["type"]?.string == "golden" }.map { $0["source"]!.string! },
                       ["pixels", "image", "pixels", "image", "pixels", "image"])
    }

    func testInterruptedJobGoesOn() async throws {
        let id = try layJob()
        let device = QuarterDevice()
        // The golden image is decoded twice, then images 0, 1, 2; the next one kills it.
        device.killAt = 5
        do {
            try await run(id, device)
            XCTFail("not interrupted")
        } catch is CancellationError {
        }
        // As after a kill in the middle of a line.
        let record = JobStore(root: root).record(id)
        let cut = try Data(contentsOf: record).dropLast(25)
        try cut.write(to: record)
        let before = images(try lines(id))
        try await run(id, QuarterDevice())
        let all = try lines(id)
        XCTAssertEqual(Set(all.map { $0["run"]!.string! }).count, 2)
        XCTAssertEqual(images(all), (0..<6).map { "0/\($0)" } + (0..<6).map { "1/\($0)" })
        XCTAssertEqual(before, ["0/0", "0/1"])
        // All done: a third start answers nothing again.
        let third = QuarterDevice()
        try await run(id, third)
        XCTAssertEqual(third.loads, 0)
        XCTAssertEqual(try lines(id).last?["answered"]?.int, 0)
    }

    func testResumeFileIsFollowed() async throws {
        let id = try layJob { folder in
            let resume = Resume(
                job: folder.lastPathComponent, answered: ["a_int8.pte": [[0, 1], [4, 9]]],
                finished: [.init(configuration: 0, phase: "golden")]
            )
            try JSONEncoder().encode(resume).write(to: folder.appendingPathComponent("resume.json"))
        }
        try await run(id, QuarterDevice())
        let lines = try lines(id)
        XCTAssertEqual(images(lines), ["0/2", "0/3"] + (0..<6).map { "1/\($0)" })
        XCTAssertEqual(lines.filter { $0["type"]?.string == "golden" }.map { $0["configuration"]!.int! }, [1, 1, 2, 2])
    }

    func testFollowsSizeAndClasses() async throws {
        for (size, classes) in [(192, 3), (96, 1000)] {
            let id = try layJob(images: 2, size: size, classes: classes)
            try await run(id, QuarterDevice())
            let found = try lines(id).filter { $0["type"]?.string == "image" }
            XCTAssertEqual(found.count, 4)
            XCTAssertTrue(found.allSatisfy { $0["logits"]!.array!.count == classes })
            XCTAssertTrue(found.allSatisfy { $0["top"]!.array!.count == min(5, classes) })
        }
    }

    func testUnreadableImageIsNamedAndPassedOver() async throws {
        let id = try layJob(images: 3) { folder in
            // A hash that fits a file that is no image.
            let path = folder.appendingPathComponent("inputs/000001.ppm")
            let old = Hash.of(try Data(contentsOf: path))
            let bad = Data("no image".utf8)
            try bad.write(to: path)
            let job = folder.appendingPathComponent("job.json")
            let text = try String(contentsOf: job, encoding: .utf8).replacingOccurrences(of: old, with: Hash.of(bad))
            let members = try XCTUnwrap(JSON.parse(text).members).filter { $0.key != "id" }
            let again = Jobs.withID(members)
            try Data(again.text.utf8).write(to: job)
            try FileManager.default.moveItem(
                at: folder, to: folder.deletingLastPathComponent().appendingPathComponent(again["id"]!.string!)
            )
        }
        XCTAssertFalse(FileManager.default.fileExists(atPath: root.appendingPathComponent("jobs/\(id)").path))
        let moved = try XCTUnwrap(JobStore(root: root).ids().first)
        try await run(moved, QuarterDevice())
        let lines = try lines(moved)
        XCTAssertEqual(images(lines), ["0/0", "0/2", "1/0", "1/2"])
        XCTAssertEqual(lines.filter { $0["type"]?.string == "unreadable" }.map { $0["image"]!.int! }, [1])
    }

    func testChangedFileIsFatalAndNamed() async throws {
        let id = try layJob { folder in
            try Data("other".utf8).write(to: folder.appendingPathComponent("models/a_float32.pte"))
        }
        do {
            try await run(id, QuarterDevice())
            XCTFail("not refused")
        } catch let error as BadInput {
            XCTAssertTrue(error.message.contains("models/a_float32.pte"), error.message)
        }
        let lines = try lines(id)
        XCTAssertEqual(lines.compactMap { $0["type"]?.string }, ["hello", "error"])
        XCTAssertEqual(lines[1]["fatal"]?.bool, true)
    }

    func testRefusals() throws {
        let id = try layJob()
        let store = JobStore(root: root)
        for bad in ["", "../" + id, id.uppercased(), String(id.dropLast())] {
            XCTAssertThrowsError(try store.open(bad)) { XCTAssertTrue($0 is BadInput) }
        }
        let folder = try store.open(id)
        XCTAssertThrowsError(try folder.resolve("../\(id)/job.json"))
        XCTAssertThrowsError(try folder.resolve("models/none.pte"))
        let secret = root.appendingPathComponent("secret")
        try Data("x".utf8).write(to: secret)
        try FileManager.default.createSymbolicLink(
            at: root.appendingPathComponent("jobs/\(id)/models/link"), withDestinationURL: secret
        )
        XCTAssertThrowsError(try folder.resolve("models/link")) { XCTAssertTrue("\($0)".contains("leads out")) }
        // A job that says something else than its id was made of.
        let path = root.appendingPathComponent("jobs/\(id)/job.json")
        let text = try String(contentsOf: path, encoding: .utf8)
        try text.replacingOccurrences(of: "\"accuracy\":true", with: "\"accuracy\":false")
            .write(to: path, atomically: true, encoding: .utf8)
        XCTAssertThrowsError(try store.open(id)) { XCTAssertTrue("\($0)".contains("its id")) }
        try text.replacingOccurrences(of: "models/a_int8.pte", with: "../models/a_int8.pte")
            .write(to: path, atomically: true, encoding: .utf8)
        XCTAssertThrowsError(try store.open(id)) { XCTAssertTrue("\($0)".contains("no path inside")) }
    }
}
