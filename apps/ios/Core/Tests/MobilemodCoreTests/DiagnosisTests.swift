import XCTest
@testable import MobilemodCore

/// A planted mistake is found and named; a right app passes.
final class DiagnosisTests: XCTestCase {
    private func golden(_ size: Int, _ classes: Int, width: Int? = nil) throws -> (Manifest, [String: PixelImage]) {
        let spec = try manifest(size: size, width: width, classes: classes).preprocess
        var images: [String: PixelImage] = [:]
        let entries = try ["ramp", "noise"].map { pattern in
            let image = try Drawing.image(pattern, width: width ?? size, height: size, channels: 3)
            images["golden/\(pattern).png"] = image
            let engine = QuarterEngine(spec, classes: classes)
            try engine.prepare(image)
            let logits = try engine.run().map { Double($0) }
            return Manifest.Golden(image: "golden/\(pattern).png", logits: ["a.pte": logits])
        }
        return (try manifest(size: size, width: width, classes: classes, golden: entries), images)
    }

    func testPassesAndNamesWhatIsWrong() throws {
        let (manifest, images) = try golden(64, 5)
        let file = manifest.files[0]
        let engine = QuarterEngine(manifest.preprocess, classes: 5)
        let decode = { (path: String) in try XCTUnwrap(images[path]) }
        XCTAssertTrue(try SelfTest.run(manifest, file, engine, decode: decode).allSatisfy(\.passed))
        for alteration in Alteration.allCases {
            engine.damage = alteration.make
            let results = try SelfTest.run(manifest, file, engine, decode: decode)
            XCTAssertEqual(results.first?.fault, .pixels(alteration), alteration.rawValue)
        }
        engine.damage = { PixelImage(unchecked: $0.width, $0.height, $0.rgb.map { $0 / 2 }) }
        XCTAssertEqual(try SelfTest.run(manifest, file, engine, decode: decode).first?.fault, .runtime)
    }

    func testARectangleIsDiagnosedToo() throws {
        let (manifest, images) = try golden(48, 5, width: 80)
        let file = manifest.files[0]
        let engine = QuarterEngine(manifest.preprocess, classes: 5)
        let decode = { (path: String) in try XCTUnwrap(images[path]) }
        XCTAssertTrue(try SelfTest.run(manifest, file, engine, decode: decode).allSatisfy(\.passed))
        engine.damage = Alteration.mirrored.make
        XCTAssertEqual(try SelfTest.run(manifest, file, engine, decode: decode).first?.fault, .pixels(.mirrored))
        engine.damage = { PixelImage(unchecked: $0.width, $0.height, $0.rgb.map { $0 / 2 }) }
        XCTAssertEqual(try SelfTest.run(manifest, file, engine, decode: decode).first?.fault, .runtime)
    }

    func testTolerance() {
        XCTAssertEqual(SelfTest.tolerance("float32", [[1, 2]]), 1e-3)
        XCTAssertEqual(SelfTest.tolerance("float16", [[1, -4]]), 0.081, accuracy: 1e-12)
        // Multiples of 0.03, rounded to five places.
        XCTAssertEqual(SelfTest.tolerance("int8", [[0.03, 0.09001, 0.09, -0.3]]), 1e-3 + 5 * 0.06, accuracy: 1e-4)
    }

    func testFileWithoutGoldenLogits() throws {
        let (manifest, images) = try golden(32, 2)
        let other = Manifest.ModelFile(file: "b.pte", target: "executorch", precision: "int8", sha256: "", bytes: 1)
        let engine = QuarterEngine(manifest.preprocess, classes: 2)
        XCTAssertThrowsError(try SelfTest.run(manifest, other, engine) { try XCTUnwrap(images[$0]) })
    }

    func testPreprocessingMistakesAreNamed() throws {
        let spec = try manifest(size: 64).preprocess
        let image = try Drawing.image("noise", width: 150, height: 100, channels: 3)
        let right = spec.pixels(image)
        XCTAssertEqual(PreprocessingCheck.verdict(right, of: image, spec), .right)
        for alteration in Alteration.allCases {
            guard case .mistake(let name, _) = PreprocessingCheck.verdict(alteration.make(right), of: image, spec) else {
                return XCTFail("\(alteration) not found")
            }
            XCTAssertEqual(name, alteration.text)
        }
        func changed(_ fraction: Double, _ interpolation: Interpolation) throws -> PixelImage {
            try Preprocess(size: .square(64), cropFraction: fraction, interpolation: interpolation,
                           mean: spec.mean, std: spec.std).pixels(image)
        }
        let expected: [(PixelImage, String)] = [
            (try changed(0.9, .bilinear), "bilinear"), (try changed(0.9, .nearest), "nearest"),
            (try changed(1, .bicubic), "margin"),
            (Resampling.resize(image, to: (64, 64), by: .bicubic, window: (0, 0, 64, 64)), "squeezed"),
        ]
        for (produced, word) in expected {
            guard case .mistake(let name, _) = PreprocessingCheck.verdict(produced, of: image, spec) else {
                return XCTFail("\(word) not found")
            }
            XCTAssertTrue(name.contains(word), name)
        }
        var stretched = spec
        stretched.fit = .stretch
        guard case .mistake(let kept, _) = PreprocessingCheck.verdict(right, of: image, stretched) else {
            return XCTFail("a kept ratio not found")
        }
        XCTAssertTrue(kept.contains("ratio"), kept)
        let noise = try Drawing.image("checks", width: 64, height: 64, channels: 3)
        XCTAssertEqual(PreprocessingCheck.verdict(noise, of: image, spec), .unknown)
    }
}
