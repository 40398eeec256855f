import Foundation
import MobilemodCore

/// A sustained run of one file: every time, with the thermal state as it goes, as the lines of the
/// harness write it.
struct Benchmark {
    /// What is shared: one JSON object.
    struct Record: Sendable {
        let json: JSON
        let summary: LatencySummary
        /// Median of the last sixth over that of the first: 1.2 means a fifth slower when hot.
        let slowdown: Double
    }

    struct Progress: Sendable {
        let seconds: Double
        let summary: LatencySummary
        let thermal: String?
    }

    static let schema = "mobilemod/app-benchmark/1"
    private static let stateSeconds = 5.0

    let device: Phone
    let file: Manifest.ModelFile
    let engine: Engine

    /// Throws `CancellationError` where the task is cancelled, and what the engine throws.
    func run(seconds: Double, on image: PixelImage, report: @Sendable (Progress) -> Void) throws -> Record {
        var times: [Double] = [], begins: [Double] = []
        var states: [JSON] = []
        try engine.prepare(image)
        let start = Clock.seconds()
        var nextState = 0.0
        repeat {
            let begin = Clock.seconds()
            _ = try engine.run()
            times.append(1e3 * (Clock.seconds() - begin))
            begins.append(begin - start)
            if begins[begins.count - 1] >= nextState {
                let state = device.state()
                states.append(.object([.init("t", .real(begin - start))] + state.members))
                if let summary = LatencySummary(Array(times.suffix(100))) {
                    report(Progress(seconds: begin - start, summary: summary, thermal: state.thermal))
                }
                nextState += Benchmark.stateSeconds
                try Task.checkCancellation()
            }
        } while Clock.seconds() - start < seconds
        guard let summary = LatencySummary(times) else { throw BadInput("no inference in \(seconds) s") }
        return Record(json: json(times, begins, states, summary), summary: summary, slowdown: slowdown(times))
    }

    private func slowdown(_ times: [Double]) -> Double {
        let part = max(times.count / 6, 1)
        guard let first = LatencySummary(Array(times.prefix(part))),
              let last = LatencySummary(Array(times.suffix(part))), first.p50 > 0
        else { return 1 }
        return last.p50 / first.p50
    }

    private func json(_ times: [Double], _ begins: [Double], _ states: [JSON], _ s: LatencySummary) -> JSON {
        let facts = device.facts
        return .object([
            .init("schema", .string(Benchmark.schema)),
            .init("device", .object([
                .init("model", .text(facts.model)), .init("os", .text(facts.os)),
                .init("cores", .integer(facts.cores)), .init("memory_bytes", .integer(facts.memoryBytes)),
            ])),
            .init("app", .string("\(facts.appName) \(facts.appVersion)")),
            .init("file", .object([
                .init("file", .string(file.file)), .init("sha256", .string(file.sha256)),
                .init("target", .string(file.target)), .init("precision", .string(file.precision)),
            ])),
            .init("runtime", .string(engine.runtime)),
            .init("p50_ms", .real(s.p50)), .init("p90_ms", .real(s.p90)), .init("p99_ms", .real(s.p99)),
            .init("min_ms", .real(s.min)), .init("max_ms", .real(s.max)), .init("mean_ms", .real(s.mean)),
            .init("slowdown", .real(slowdown(times))),
            .init("ms", .array(times.map { .real($0) })), .init("at", .array(begins.map { .real($0) })),
            .init("states", .array(states)),
        ])
    }
}
