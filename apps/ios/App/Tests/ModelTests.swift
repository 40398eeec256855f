import MobilemodCore
import XCTest
@testable import Mobilemod

/// On a device or simulator: every file of the bundle passes its golden images, and how fast it is.
final class ModelTests: XCTestCase {
    private func bundle() throws -> ModelBundle {
        do {
            return try ModelBundle.load()
        } catch {
            throw XCTSkip(error.localizedDescription)
        }
    }

    private func engine(_ bundle: ModelBundle, _ file: Manifest.ModelFile) async throws -> Engine {
        try await EngineLoader.load(
            bundle.url(file), target: file.target, sha256: file.sha256,
            delegate: EngineLoader.usualDelegate(file.target), threads: EngineLoader.takesUnits(file.target) ? 0 : 1,
            manifest: bundle.manifest
        )
    }

    func testGoldenImages() async throws {
        let bundle = try bundle()
        XCTAssertFalse(bundle.files.isEmpty)
        for file in bundle.files {
            let engine = try await engine(bundle, file)
            let results = try SelfTest.run(bundle.manifest, file, engine) { try bundle.golden($0) }
            for result in results {
                XCTAssertTrue(result.passed, "\(file.file), \(result.image): \(result.largestDifference)")
            }
        }
    }

    func testFirstFile() async throws { try await measureFile(0) }
    func testSecondFile() async throws { try await measureFile(1) }
    func testThirdFile() async throws { try await measureFile(2) }
    func testFourthFile() async throws { try await measureFile(3) }

    /// Time, memory and processor use of 100 inferences; `measure` takes one file a test.
    private func measureFile(_ index: Int) async throws {
        let bundle = try bundle()
        guard bundle.files.indices.contains(index), let golden = bundle.manifest.golden.first else {
            throw XCTSkip("the bundle has no file \(index)")
        }
        let engine = try await engine(bundle, bundle.files[index])
        try engine.prepare(bundle.golden(golden.image))
        _ = try engine.run()
        let options = XCTMeasureOptions()
        options.iterationCount = 5
        measure(metrics: [XCTClockMetric(), XCTCPUMetric(), XCTMemoryMetric()], options: options) {
            // It ran above; a block that is measured can't throw.
            for _ in 0..<100 { _ = try? engine.run() }
        }
    }
}
