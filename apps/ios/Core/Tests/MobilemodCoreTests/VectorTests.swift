import XCTest
@testable import MobilemodCore

/// The shared vectors: what Python computes, computed here.
final class VectorTests: XCTestCase {
    func testPreprocessing() throws {
        let cases = try Vectors.list(Vectors.read("preprocess.json"), "cases")
        XCTAssertGreaterThanOrEqual(cases.count, 30)
        for item in cases {
            let name = try XCTUnwrap(item["name"]?.string)
            let spec = try Vectors.decode(Preprocess.self, XCTUnwrap(item["preprocess"]))
            let drawn = try Drawing.image(
                XCTUnwrap(item["pattern"]?.string), width: XCTUnwrap(item["width"]?.int),
                height: XCTUnwrap(item["height"]?.int), channels: XCTUnwrap(item["channels"]?.int)
            )
            let pixels = spec.pixels(drawn.oriented(try XCTUnwrap(item["orientation"]?.int)))
            let wanted = [UInt8](try XCTUnwrap(Data(base64Encoded: XCTUnwrap(item["pixels"]?.string))))
            XCTAssertTrue(spec.size.fits(pixels), name)
            // Pillow's own arithmetic, so not one step is allowed.
            XCTAssertTrue(pixels.rgb == wanted, "\(name): pixels differ from Pillow's")
            let tensor = spec.normalize(pixels)
            for sample in try Vectors.list(item, "tensor") {
                let pair = try XCTUnwrap(sample.array)
                let index = try XCTUnwrap(pair[0].int)
                XCTAssertEqual(Double(tensor[index]), try XCTUnwrap(pair[1].double), accuracy: 1e-6, name)
            }
        }
    }

    func testTopK() throws {
        let cases = try Vectors.list(Vectors.read("top_k.json"), "cases")
        XCTAssertGreaterThanOrEqual(cases.count, 7)
        for item in cases {
            let logits = try Vectors.list(item, "logits").map { Float($0.double ?? .nan) }
            let top = Logits.top(logits, try XCTUnwrap(item["k"]?.int))
            let wanted = try Vectors.list(item, "top").map { pair in
                Ranked(classIndex: try XCTUnwrap(pair.array?[0].int),
                       logit: Float(try XCTUnwrap(pair.array?[1].double)))
            }
            XCTAssertEqual(top, wanted)
            if let sha256 = item["sha256"]?.string { XCTAssertEqual(Logits.sha256(logits), sha256) }
        }
    }

    func testPercentiles() throws {
        let cases = try Vectors.list(Vectors.read("statistics.json"), "percentiles")
        XCTAssertGreaterThanOrEqual(cases.count, 5)
        for item in cases {
            let summary = try XCTUnwrap(LatencySummary(Vectors.doubles(item, "values")))
            XCTAssertEqual(summary.p50, item["p50"]?.double)
            XCTAssertEqual(summary.p90, item["p90"]?.double)
            XCTAssertEqual(summary.p99, item["p99"]?.double)
            XCTAssertEqual(summary.min, item["min"]?.double)
            XCTAssertEqual(summary.max, item["max"]?.double)
            XCTAssertEqual(summary.mean, try XCTUnwrap(item["mean"]?.double), accuracy: 1e-9)
        }
        XCTAssertNil(LatencySummary([]))
    }

    func testWarmUp() throws {
        let cases = try Vectors.list(Vectors.read("statistics.json"), "warm_up")
        XCTAssertGreaterThanOrEqual(cases.count, 5)
        for item in cases {
            let values = try Vectors.doubles(item, "milliseconds")
            let limit = try XCTUnwrap(item["max"]?.int)
            let runs = (1...values.count).first { WarmUp.isOver(Array(values.prefix($0)), limit: limit) }
            XCTAssertEqual(runs, item["runs"]?.int)
        }
    }

    func testLines() throws {
        let cases = try Vectors.list(Vectors.read("protocol.json"), "lines")
        XCTAssertGreaterThanOrEqual(cases.count, 13)
        for item in cases {
            let text = try XCTUnwrap(item["text"]?.string)
            let found = Line.decode(text)
            if item["ok"]?.bool == true {
                XCTAssertEqual(found, try XCTUnwrap(item["value"]), text)
                // Written again from what was read, it is the same line.
                XCTAssertEqual(Line.encode(try XCTUnwrap(found?.members)), text)
            } else {
                XCTAssertNil(found, String(text.prefix(200)))
            }
        }
    }

    func testPathsAndIDs() throws {
        let vectors = try Vectors.read("protocol.json")
        for (key, accepts) in [("paths", JobPath.isSafe), ("ids", JobPath.isJobID)] {
            let values = try XCTUnwrap(vectors[key])
            for good in try Vectors.list(values, "good") { XCTAssertTrue(accepts(try XCTUnwrap(good.string))) }
            for bad in try Vectors.list(values, "bad") {
                XCTAssertFalse(accepts(try XCTUnwrap(bad.string)), bad.text)
            }
        }
    }

    func testResume() throws {
        let vectors = try XCTUnwrap(Vectors.read("protocol.json")["resume"])
        let files = try Vectors.list(vectors, "files").map { try XCTUnwrap($0.string) }
        let count = try XCTUnwrap(vectors["count"]?.int)
        let id = try XCTUnwrap(vectors["job"]?.string)
        let job = try Vectors.decode(Job.self, Jobs.members(
            id: id, files: files, count: count, configurations: XCTUnwrap(vectors["configurations"])
        ))
        var remaining = Remaining(job: job)
        for line in try Vectors.list(vectors, "lines") {
            remaining.add(line: Array(try XCTUnwrap(line.string).utf8))
        }
        remaining.add(Resume(
            job: id, answered: try Vectors.decode([String: [[Int]]].self, XCTUnwrap(vectors["answered"])),
            finished: []
        ))
        for file in files {
            let left = try Vectors.list(XCTUnwrap(vectors["left"]), file).map { try XCTUnwrap($0.int) }
            XCTAssertEqual(remaining.images(of: file), left, file)
        }
    }
}
