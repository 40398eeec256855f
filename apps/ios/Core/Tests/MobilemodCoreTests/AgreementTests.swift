import XCTest
@testable import MobilemodCore

final class AgreementTests: XCTestCase {
    func testTakesTurnsAndCounts() {
        var agreement = Agreement()
        var order: [String] = []
        func answer(_ name: String, _ best: Int?) -> () -> Int? {
            { order.append(name); return best }
        }
        XCTAssertNil(agreement.percent)
        let both = agreement.both(answer("a", 2), answer("b", 1)) { .best($0) }
        XCTAssertEqual([both.first, both.second], [2, 1])
        XCTAssertEqual(agreement.percent, 0)
        let again = agreement.both(answer("a", 3), answer("b", 4)) { .best($0) }
        XCTAssertEqual([again.first, again.second], [3, 4])
        _ = agreement.both(answer("a", 2), answer("b", 2)) { .best($0) }
        _ = agreement.both(answer("a", nil), answer("b", nil)) { .best($0) }
        XCTAssertEqual(order, ["a", "b", "b", "a", "a", "b", "b", "a"])
        XCTAssertEqual(agreement.pictures, 4)
        XCTAssertEqual(agreement.percent, 25)
    }

    func testAFileThatFailsCountsNothing() {
        var agreement = Agreement()
        XCTAssertThrowsError(try agreement.both({ 1 }, { throw BadInput("no") }, verdict: { .best($0) }))
        XCTAssertEqual(agreement, Agreement())
    }

    /// Of maps pixels are counted, not the largest class: both have most of class 1.
    func testMaps() {
        let size = MapSize(height: 1, width: 4)
        func map(_ codes: [UInt8]) -> Verdict { .map(ClassMap(size, codes)) }
        var agreement = Agreement()
        agreement.add(map([1, 1, 1, 2]), map([2, 1, 1, 1]))
        XCTAssertEqual(agreement.percent, 50)
        let none = ClassMap.none
        XCTAssertEqual(map([none, 1, 1, none]).alike(map([none, 1, 2, 3])), 1 / 3, accuracy: 1e-12)
        XCTAssertEqual(map([none, none, none, none]).alike(map([none, none, none, none])), 0)
        XCTAssertEqual(map([1, 1, 1, 1]).alike(.best(1)), 0)
    }
}
