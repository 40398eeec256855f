import XCTest
@testable import MobilemodCore

/// A clock that a test moves: every look at it takes a millisecond, every state 100.
private final class Ticking: Device, @unchecked Sendable {
    var facts: DeviceFacts { DeviceFacts(kind: "test", appName: "tests", appVersion: "1", runtimes: ["b": "2", "a": "1"]) }
    private var clock = 0.0
    private(set) var states = 0

    func now() -> Double { clock += 0.001; return clock }
    func state() -> DeviceState { states += 1; clock += 0.1; return DeviceState(thermal: "fair", batteryLevel: 0.5) }
    func decode(_ data: Data) throws -> PixelImage { throw BadInput("none") }
    func load(
        _ file: Job.ModelFile, at url: URL, configuration: Job.Configuration, manifest: Manifest
    ) async throws -> Engine { throw BadInput("none") }
}

final class BenchmarkTests: XCTestCase {
    func testKeepsEverything() throws {
        let manifest = try manifest(size: 32, classes: 2)
        let device = Ticking()
        let benchmark = Benchmark(manifest: manifest, file: manifest.files[0], threads: 2, delegate: "xnnpack", device: device)
        let image = try Drawing.image("ramp", width: 32, height: 32, channels: 3)
        var reports = 0
        let record = try benchmark.run(QuarterEngine(manifest.preprocess, classes: 2), on: image, seconds: 12) {
            reports += 1
            XCTAssertEqual($0.thermal, "fair")
        }
        let json = record.json
        XCTAssertEqual(json["schema"]?.string, "mobilemod/app-benchmark/1")
        XCTAssertEqual(json["warm_up_runs"]?.int, 16)
        let times = try Vectors.doubles(json, "ms"), at = try Vectors.doubles(json, "at")
        XCTAssertEqual(times.count, record.summary.count)
        XCTAssertEqual(times.count, at.count)
        XCTAssertEqual(at, at.sorted())
        XCTAssertEqual(json["latency"]?["runs"]?.int, times.count)
        XCTAssertEqual(record.sustained.first.count + record.sustained.last.count, times.count, accuracy: 1)
        // At 0, 5 and 10 seconds, and at the end; before the first inference there is nothing to report.
        XCTAssertEqual(device.states, 4)
        XCTAssertEqual(reports, 2)
        XCTAssertEqual(json["states"]?.array?.count, 4)
        XCTAssertEqual(json["runtimes"]?.members?.map(\.key), ["a", "b"])
        XCTAssertEqual(try JSON.parse(json.text), json)
    }

    func testSustained() throws {
        // Three minutes, the last one twice as slow.
        let at = (0..<1800).map { Double($0) / 10 }
        let times = at.map { $0 >= 120 ? 10.0 : 5.0 }
        let sustained = try XCTUnwrap(Sustained(times, at))
        XCTAssertEqual(sustained.first.p50, 5)
        XCTAssertEqual(sustained.last.p50, 10)
        XCTAssertEqual(sustained.lossPercent, 100)
        XCTAssertNil(Sustained([], []))
        XCTAssertEqual(Sustained([3], [1])?.lossPercent, 0)
    }

    func testCancelled() async throws {
        let manifest = try manifest(size: 32, classes: 2)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            let benchmark = Benchmark(manifest: manifest, file: manifest.files[0], threads: 1, delegate: "cpu", device: Ticking())
            let image = try Drawing.image("ramp", width: 32, height: 32, channels: 3)
            _ = try benchmark.run(QuarterEngine(manifest.preprocess, classes: 2), on: image, seconds: 1e9)
        }
        do {
            try await task.value
            XCTFail("not cancelled")
        } catch is CancellationError {
        }
    }
}
