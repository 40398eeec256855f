import XCTest
@testable import MobilemodCore

/// Maps of classes are Python's, pixel by pixel.
final class MapTests: XCTestCase {
    private func vectors(_ key: String) throws -> JSON { try XCTUnwrap(Vectors.read("segments.json")[key]) }

    private func cases(_ key: String) throws -> [JSON] {
        let found = try XCTUnwrap(vectors(key).array)
        XCTAssertGreaterThanOrEqual(found.count, 6)
        return found
    }

    private func whole(_ json: JSON, _ key: String) throws -> Int { try XCTUnwrap(json[key]?.int) }

    private func wholes(_ json: JSON, _ key: String) throws -> [Int] {
        try Vectors.list(json, key).map { try XCTUnwrap($0.int) }
    }

    private func floats(_ json: JSON, _ key: String) throws -> [Float] {
        try Vectors.list(json, key).map { $0.double.map { Float($0) } ?? .nan }
    }

    private func size(_ json: JSON) throws -> MapSize {
        MapSize(height: try whole(json, "height"), width: try whole(json, "width"))
    }

    private func map(_ json: JSON?) throws -> ClassMap {
        let json = try XCTUnwrap(json)
        return ClassMap(try size(json), try wholes(json, "codes").map { UInt8($0) })
    }

    private func row(_ codes: [Int]) -> ClassMap {
        ClassMap(MapSize(height: 1, width: codes.count), codes.map { UInt8($0) })
    }

    func testScoresBecomeClasses() throws {
        for item in try cases("scores") {
            let order = try XCTUnwrap(Scores.Order(rawValue: XCTUnwrap(item["order"]?.string)))
            let scores = try Scores(
                floats(item, "scores"), size(item), classes: whole(item, "classes"), order: order
            )
            XCTAssertEqual(scores.map(), try map(item), item["name"]?.string ?? "")
        }
    }

    func testWhatIsInfiniteIsNoAnswerAndAnotherNumberAnError() throws {
        let values: [Float] = [1, -.infinity, 3, 4]
        let size = MapSize(height: 1, width: 2)
        let scores = try Scores(values, size, classes: 2, order: .last)
        XCTAssertEqual(scores.map(), row([255, 255]))
        XCTAssertEqual(scores.smoothMap(size), row([255, 255]))
        XCTAssertThrowsError(try Scores(values, size, classes: 3, order: .last))
    }

    func testRunsAreWrittenAndReadAlikeBrokenOnesRefused() throws {
        let cases = try vectors("runs")
        for item in try Vectors.list(cases, "good") {
            let (map, runs) = (row(try wholes(item, "codes")), try wholes(item, "runs"))
            XCTAssertEqual(Runs.of(map), runs)
            XCTAssertEqual(try Runs.read(runs, map.size), map)
        }
        let broken = try Vectors.list(cases, "broken")
        XCTAssertGreaterThanOrEqual(broken.count, 12)
        for item in broken {
            let size = MapSize(height: 1, width: try whole(item, "pixels"))
            let runs = try wholes(item, "runs")
            XCTAssertThrowsError(try Runs.read(runs, size), "\(runs)") { XCTAssertTrue($0 is BadInput) }
        }
    }

    func testEveryCodeHasItsColour() throws {
        let expected = try XCTUnwrap(vectors("palette").array).map { $0.int }
        XCTAssertEqual((0...255).flatMap { Palette.colour($0).map { Int($0) } }, expected)
    }

    func testMapsAndScoresAtOtherSizes() throws {
        for item in try cases("nearest") {
            let laid = try map(item["laid"])
            XCTAssertEqual(try map(item["map"]).laid(on: laid.size), laid)
        }
        for item in try cases("enlarged") {
            let expected = try map(item["map"]), classes = try whole(item, "classes")
            let scores = try Scores(floats(item, "scores"), size(item), classes: classes, order: .first)
            XCTAssertEqual(
                (0..<classes).flatMap { scores.enlarged($0, expected.size) }, try floats(item, "values")
            )
            XCTAssertEqual(scores.smoothMap(expected.size), expected)
        }
    }

    func testAMapBesideATruth() throws {
        for item in try cases("compared") {
            var confusion = Confusion()
            confusion.add(try map(item["answer"]), try map(item["truth"]))
            var pairs: [[Int]] = []
            for truth in 0...255 {
                for answer in 0...255 where confusion[truth, answer] > 0 {
                    pairs.append([truth, answer, confusion[truth, answer]])
                }
            }
            XCTAssertEqual(pairs, try Vectors.list(item, "pixels").map { $0.array?.compactMap(\.int) ?? [] })
            XCTAssertEqual(confusion.meanIoU(), try XCTUnwrap(item["mean_iou"]?.double), accuracy: 1e-9)
        }
    }

    func testSharesAndPixelsAlike() {
        let map = row([3, 3, 9, 255, 3, 1, 1, 9])
        XCTAssertEqual(map.shares().map(\.code), [3, 1, 9])
        XCTAssertEqual(map.shares().map(\.share), [3.0 / 7, 2.0 / 7, 2.0 / 7])
        // No class agrees with nothing.
        XCTAssertEqual(map.alikePercent(map), 87.5)
    }
}
