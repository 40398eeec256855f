import XCTest
@testable import MobilemodCore

/// A bundle whose answers are maps: its manifest, its self-test, and what a map covers.
final class MapBundleTests: XCTestCase {
    private let size = MapSize(height: 4, width: 6)
    private let classes = 3

    private func bundle() throws -> (Manifest, [String: PixelImage], QuarterEngine) {
        let plain = try manifest(size: 48, width: 80, classes: classes, map: size)
        let engine = QuarterEngine(plain.preprocess, classes: plain.outputCount)
        var images: [String: PixelImage] = [:]
        let golden = try ["ramp", "noise"].map { pattern in
            let path = "golden/\(pattern).png"
            let image = try Drawing.image(pattern, width: 80, height: 48, channels: 3)
            images[path] = image
            try engine.prepare(image)
            let map = try XCTUnwrap(plain.mapOutput(engine.run(), "executorch")).map()
            return Manifest.Golden(image: path, runs: ["a.pte": Runs.of(map)])
        }
        return (try manifest(size: 48, width: 80, classes: classes, map: size, golden: golden), images, engine)
    }

    func testTheManifestIsReadAndRefused() throws {
        let (manifest, _, _) = try bundle()
        let data = try JSONEncoder().encode(manifest)
        XCTAssertEqual(try Manifest.read(data), manifest)
        XCTAssertEqual(manifest.outputCount, 72)
        let text = String(decoding: data, as: UTF8.self)
        for (old, new, word) in [
            ("[4,6]", "[4,7]", "golden runs of a.pte: 24 pixels of 28"), ("[4,6]", "[4]", "must be height and width"),
            ("[4,6]", "[0,6]", "must be height and width"), ("[4,6]", "4", "'map' has the wrong type"),
            ("\"runs\"", "\"logits\"", "golden 'runs' is missing"),
        ] {
            XCTAssertTrue(text.contains(old), old)
            let changed = text.replacingOccurrences(of: old, with: new)
            XCTAssertThrowsError(try Manifest.read(Data(changed.utf8)), new) {
                XCTAssertTrue($0 is BadInput && "\($0)".contains(word), "\(new): \($0)")
            }
        }
    }

    func testAFileMayGiveTheMapItself() throws {
        let (scored, _, _) = try bundle()
        let golden = scored.golden
        let given = try manifest(size: 48, width: 80, classes: classes, map: size, answer: .classes, golden: golden)
        XCTAssertEqual(try Manifest.read(JSONEncoder().encode(given)), given)
        XCTAssertEqual(given.outputCount, 24)
        let map = try Runs.read(XCTUnwrap(golden[0].runs?["a.pte"]), size)
        let values = map.codes.map(Float.init)
        let told = try XCTUnwrap(given.mapOutput(values, "executorch"))
        XCTAssertEqual(told.map(), map)
        let large = MapSize(height: 48, width: 80)
        XCTAssertEqual(told.smoothMap(large), map.laid(on: large))
        let none = try XCTUnwrap(given.mapOutput([255] + values.dropFirst(), "executorch"))
        XCTAssertEqual(Set(none.map().codes), [255])
        for wrong in [[3] + values.dropFirst(), [0.5] + values.dropFirst(), values + [0], [Float.nan] + values.dropFirst()] {
            XCTAssertThrowsError(try given.mapOutput(wrong, "executorch")) { XCTAssertTrue($0 is BadInput) }
        }
        let without = try manifest(classes: classes, answer: .classes)
        XCTAssertThrowsError(try Manifest.read(JSONEncoder().encode(without))) {
            XCTAssertTrue("\($0)".contains("without a map"))
        }
    }

    func testTheSelfTestComparesMaps() throws {
        let (manifest, images, engine) = try bundle()
        let decode = { (path: String) in try XCTUnwrap(images[path]) }
        func faults() throws -> [SelfTest.Fault?] {
            try SelfTest.run(manifest, manifest.files[0], engine, decode: decode).map(\.fault)
        }
        XCTAssertEqual(try faults(), [nil, nil])
        engine.damage = Alteration.mirrored.make
        XCTAssertEqual(try faults().first, .pixels(.mirrored))
        engine.damage = { PixelImage(unchecked: $0.width, $0.height, $0.rgb.map { _ in 0 }) }
        XCTAssertEqual(try faults().first, .runtime)
        let results = try SelfTest.run(manifest, manifest.files[0], engine, decode: decode)
        XCTAssertEqual(results[0].tolerance, 3)
        XCTAssertGreaterThan(results[0].largestDifference, 3)
    }

    func testAMapCoversWhatTheNetworkSees() throws {
        func spec(_ fraction: Double, _ fit: Fit) throws -> Preprocess {
            try Preprocess(
                size: .square(50), cropFraction: fraction, interpolation: .bilinear, mean: [0, 0, 0],
                std: [1, 1, 1], fit: fit
            )
        }
        XCTAssertEqual(try spec(1, .crop).window(imageWidth: 200, imageHeight: 100),
                       MapWindow(left: 0.25, top: 0, width: 0.5, height: 1))
        XCTAssertEqual(try spec(1, .crop).window(imageWidth: 100, imageHeight: 200),
                       MapWindow(left: 0, top: 0.25, width: 1, height: 0.5))
        XCTAssertEqual(try spec(1, .stretch).window(imageWidth: 200, imageHeight: 100),
                       MapWindow(left: 0, top: 0, width: 1, height: 1))
        XCTAssertEqual(try spec(0.5, .crop).window(imageWidth: 70, imageHeight: 70),
                       MapWindow(left: 0.25, top: 0.25, width: 0.5, height: 0.5))
    }

    func testBarsHaveNoClass() throws {
        let spec = try Preprocess(
            size: .square(50), cropFraction: 1, interpolation: .bilinear, mean: [0, 0, 0],
            std: [1, 1, 1], fit: .letterbox
        )
        let window = spec.window(imageWidth: 200, imageHeight: 100)
        XCTAssertEqual(window, MapWindow(left: 0, top: -0.5, width: 1, height: 2))
        let map = ClassMap(MapSize(height: 4, width: 2), [1, 1, 2, 2, 3, 3, 4, 4])
        XCTAssertEqual(window.withoutBars(map).codes, [255, 255, 2, 2, 3, 3, 255, 255])
    }

    func testFramesASecond() {
        var rate = FrameRate(capacity: 3)
        rate.add(0)
        XCTAssertNil(rate.perSecond)
        for seconds in [0.5, 0.75, 1] { rate.add(seconds) }
        XCTAssertEqual(rate.perSecond, 4)
        rate.clear()
        XCTAssertNil(rate.perSecond)
    }
}
