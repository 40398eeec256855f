import Foundation

/// One configuration that is being timed, its input prepared. Values are of the phase that goes on.
final class TimedRun {
    static let lineValues = 64
    static let lineSeconds = 1.0

    let configuration: Int
    let engine: Engine
    private(set) var milliseconds: [Double] = []
    private var begins: [Double] = []
    private var written = 0

    init(configuration: Int, engine: Engine) {
        self.configuration = configuration
        self.engine = engine
    }

    func restart() { (milliseconds, begins, written) = ([], [], 0) }

    func measure(_ now: () -> Double) throws {
        let begin = now()
        _ = try engine.run()
        milliseconds.append(1e3 * (now() - begin))
        begins.append(begin)
    }

    /// Whether what isn't written fills a line, or spans more than a second.
    var isDue: Bool {
        let count = milliseconds.count - written
        guard count > 0 else { return false }
        let span = begins[begins.count - 1] + milliseconds[milliseconds.count - 1] / 1e3 - begins[written]
        return count >= TimedRun.lineValues || span > TimedRun.lineSeconds
    }

    func write(_ lines: LineWriter, _ phase: String) throws {
        guard written < milliseconds.count else { return }
        try lines.times(configuration, phase, written, milliseconds[written...], begins[written...])
        written = milliseconds.count
    }
}

/// Times one configuration, or two in turns, and writes every value: none is dropped.
struct Timing {
    let lines: LineWriter
    let now: () -> Double
    /// Told of a configuration whose inference failed, once its values are written.
    let failed: (Int, Error) throws -> Void

    /// Until each is stable or at `warmUpMax`, and for at least `warmUpSeconds`.
    func warmUp(_ runs: inout [TimedRun], _ latency: Job.Latency) throws {
        try phase("warm-up", &runs) { runs, elapsed in
            elapsed >= latency.warmUpSeconds
                && runs.allSatisfy { WarmUp.isOver($0.milliseconds, limit: latency.warmUpMax) }
        }
    }

    /// Until both `minRuns` and `minSeconds` are reached.
    func steady(_ runs: inout [TimedRun], _ latency: Job.Latency) throws {
        try phase("steady", &runs) { runs, elapsed in
            elapsed >= latency.minSeconds && runs.allSatisfy { $0.milliseconds.count >= latency.minRuns }
        }
    }

    func sustained(_ runs: inout [TimedRun], _ seconds: Double) throws {
        try phase("sustained", &runs) { _, elapsed in elapsed >= seconds }
    }

    /// runs: those that fail leave it, the others go on. isOver: asked before every round, with the
    /// phase's seconds so far.
    private func phase(
        _ name: String, _ runs: inout [TimedRun], _ isOver: ([TimedRun], Double) -> Bool
    ) throws {
        for run in runs { run.restart() }
        let began = now()
        var round = 0
        while !runs.isEmpty, !isOver(runs, now() - began) {
            // The one to begin alternates.
            for run in round % 2 == 0 ? runs : runs.reversed() {
                do {
                    try run.measure(now)
                } catch let error where !error.endsRun {
                    try run.write(lines, name)
                    runs.removeAll { $0 === run }
                    try failed(run.configuration, error)
                }
            }
            round += 1
            if runs.contains(where: \.isDue) {
                for run in runs { try run.write(lines, name) }
                try lines.stateIfDue()
                try Task.checkCancellation()
            }
        }
        for run in runs { try run.write(lines, name) }
    }
}
