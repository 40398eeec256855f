import XCTest

/// The app as a person uses it, with a bundle in it, on a device or in a simulator.
final class ScreenTests: XCTestCase {
    @MainActor private func launched(_ arguments: [String] = []) -> XCUIApplication {
        let app = XCUIApplication()
        app.launchArguments = arguments
        app.launch()
        return app
    }

    /// Every screen of the checks leads back to their list.
    @MainActor func testChecksLeadBack() {
        let app = launched()
        app.tabBars.buttons["Checks"].tap()
        for name in ["Self-test", "Benchmark", "Accuracy", "Compute plan"] {
            app.buttons[name].tap()
            XCTAssertTrue(app.navigationBars[name].waitForExistence(timeout: 5), name)
            app.navigationBars.buttons["Checks"].tap()
            XCTAssertTrue(app.navigationBars["Checks"].waitForExistence(timeout: 5), name)
        }
    }

    @MainActor func testSelfTestPasses() {
        let app = launched()
        app.tabBars.buttons["Checks"].tap()
        app.buttons["Self-test"].tap()
        app.buttons["Run the self-test"].tap()
        XCTAssertTrue(app.staticTexts["All passed"].waitForExistence(timeout: 60))
    }

    /// A sample has its latency on the screen, and the other file's answer beside it.
    @MainActor func testSampleIsCompared() {
        let app = launched()
        app.tabBars.buttons["Photo"].tap()
        let sample = app.buttons.matching(NSPredicate(format: "label BEGINSWITH 'Sample'")).firstMatch
        XCTAssertTrue(sample.waitForExistence(timeout: 30))
        sample.tap()
        let compare = app.buttons.matching(NSPredicate(format: "label BEGINSWITH 'Compare'")).firstMatch
        XCTAssertTrue(compare.waitForExistence(timeout: 30))
        compare.tap()
        let agreed = app.staticTexts.matching(NSPredicate(format: "label BEGINSWITH 'The same '")).firstMatch
        XCTAssertTrue(agreed.waitForExistence(timeout: 60))
    }

    /// The float file can be set to run beside the chosen one, and another screen opens afterwards.
    @MainActor func testLiveComparison() {
        let app = launched()
        let beside = app.switches.matching(NSPredicate(format: "label BEGINSWITH 'Beside'")).firstMatch
        XCTAssertTrue(beside.waitForExistence(timeout: 30))
        beside.tap()
        app.tabBars.buttons["Photo"].tap()
        XCTAssertTrue(app.buttons["Choose a photo"].waitForExistence(timeout: 30))
    }

    /// A job that isn't there is told, and can be closed.
    @MainActor func testMissingJob() {
        let app = launched(["--job", "none"])
        let close = app.buttons["Close"]
        XCTAssertTrue(close.waitForExistence(timeout: 10))
        close.tap()
        XCTAssertTrue(app.tabBars.firstMatch.waitForExistence(timeout: 10))
    }
}
