import Foundation

/// A sustained run on the device: warm-up, then inference without pause for the planned time, with
/// the device's state every few seconds. Nothing is dropped.
public struct Benchmark: Sendable {
    public static let schema = "mobilemod/app-benchmark/1"
    static let stateSeconds = 5.0
    static let warmUpMax = 200

    /// As it goes. summary: of the last 100 values.
    public struct Progress: Sendable {
        public let seconds: Double
        public let summary: LatencySummary
        public let thermal: String?
    }

    /// json: what is shared, schema `mobilemod/app-benchmark/1`.
    public struct Record: Sendable {
        public let json: JSON
        public let summary: LatencySummary
        public let sustained: Sustained
    }

    public let manifest: Manifest
    public let file: Manifest.ModelFile
    public let threads: Int
    public let delegate: String
    public let device: Device & Sendable

    public init(manifest: Manifest, file: Manifest.ModelFile, threads: Int, delegate: String, device: Device & Sendable) {
        self.manifest = manifest
        self.file = file
        self.threads = threads
        self.delegate = delegate
        self.device = device
    }

    /// pixels: uint8 (height, width, 3), what every inference gets.
    /// Throws `CancellationError` where the task is cancelled, and what the engine throws.
    public func run(
        _ engine: Engine, on pixels: PixelImage, seconds: Double, report: (Progress) -> Void = { _ in }
    ) throws -> Record {
        try engine.prepare(pixels)
        let warmUpRuns = try warmUp(engine)
        var times: [Double] = [], begins: [Double] = [], states: [JSON] = []
        let start = device.now()
        var nextState = 0.0
        repeat {
            let begin = device.now()
            if begin - start >= nextState {
                let state = device.state()
                states.append(.object([.init("t", .real(begin - start))] + state.members))
                if let summary = LatencySummary(Array(times.suffix(100))) {
                    report(Progress(seconds: begin - start, summary: summary, thermal: state.thermal))
                }
                nextState = begin - start + Benchmark.stateSeconds
                try Task.checkCancellation()
            } else {
                _ = try engine.run()
                times.append(1e3 * (device.now() - begin))
                begins.append(begin - start)
            }
        } while device.now() - start < seconds || times.isEmpty
        states.append(.object([.init("t", .real(device.now() - start))] + device.state().members))
        guard let summary = LatencySummary(times), let sustained = Sustained(times, begins) else {
            throw BadInput("no inference in \(seconds) s")
        }
        let head = members(engine.runtime) + [.init("warm_up_runs", .integer(warmUpRuns))]
        let json = JSON.object(head + [
            .init("latency", summary.json), .init("sustained", sustained.json),
            .init("ms", .array(times.map { .real($0) })), .init("at", .array(begins.map { .real($0) })),
            .init("states", .array(states)),
        ])
        return Record(json: json, summary: summary, sustained: sustained)
    }

    private func warmUp(_ engine: Engine) throws -> Int {
        var times: [Double] = []
        repeat {
            let begin = device.now()
            _ = try engine.run()
            times.append(1e3 * (device.now() - begin))
        } while !WarmUp.isOver(times, limit: Benchmark.warmUpMax)
        return times.count
    }

    private func members(_ runtime: String) -> [JSON.Member] {
        [
            .init("schema", .string(Benchmark.schema)), .init("model", .string(manifest.model)),
            .init("file", .object([
                .init("file", .string(file.file)), .init("sha256", .string(file.sha256)),
                .init("target", .string(file.target)), .init("precision", .string(file.precision)),
            ])),
            .init("threads", .integer(threads)), .init("delegate", .string(delegate)),
            .init("runtime", .string(runtime)),
        ] + device.facts.members + [.init("wall", .string(ISO8601DateFormatter().string(from: Date())))]
    }
}

/// A long run's beginning against its end, in milliseconds.
public struct Sustained: Equatable, Sendable {
    public let first: LatencySummary
    public let last: LatencySummary

    /// How much slower the median became, in percent.
    public var lossPercent: Double { 100 * (last.p50 / first.p50 - 1) }

    /// at: seconds at which each value began. The windows are `window` seconds, or half the run where
    /// it is shorter than two. Nil for no values.
    public init?(_ milliseconds: [Double], _ at: [Double], window: Double = 60) {
        guard let begin = at.first, let end = at.last else { return nil }
        let part = min(window, (end - begin) / 2)
        let pairs = zip(milliseconds, at)
        guard let first = LatencySummary(pairs.filter { $0.1 - begin <= part }.map(\.0)),
              let last = LatencySummary(pairs.filter { end - $0.1 <= part }.map(\.0))
        else { return nil }
        self.first = first
        self.last = last
    }

    var json: JSON {
        .object([
            .init("first", first.json), .init("last", last.json), .init("loss_percent", .real(lossPercent)),
        ])
    }
}

extension LatencySummary {
    var json: JSON {
        .object([
            .init("runs", .integer(count)), .init("p50_ms", .real(p50)), .init("p90_ms", .real(p90)),
            .init("p99_ms", .real(p99)), .init("min_ms", .real(min)), .init("max_ms", .real(max)),
            .init("mean_ms", .real(mean)),
        ])
    }
}
