import Foundation

/// One configuration that is being timed, its input prepared.
final class TimedRun {
    let configuration: Int
    let engine: Engine
    var milliseconds: [Double] = []
    var begins: [Double] = []
    var written = 0

    init(configuration: Int, engine: Engine) {
        self.configuration = configuration
        self.engine = engine
    }
}

/// Times one configuration, or two in turns, and writes every value: none is dropped.
struct Timing {
    static let group = 64

    let runs: [TimedRun]
    let lines: LineWriter
    let now: () -> Double

    /// Until each is stable or at `warmUpMax`, and for at least `warmUpSeconds`.
    func warmUp(_ latency: Job.Latency) throws {
        try phase("warm-up") { elapsed in
            elapsed >= latency.warmUpSeconds
                && runs.allSatisfy { WarmUp.isOver($0.milliseconds, limit: latency.warmUpMax) }
        }
    }

    /// Until both `minRuns` and `minSeconds` are reached.
    func steady(_ latency: Job.Latency) throws {
        try phase("steady") { elapsed in
            elapsed >= latency.minSeconds && runs.allSatisfy { $0.milliseconds.count >= latency.minRuns }
        }
    }

    func sustained(_ seconds: Double) throws {
        try phase("sustained") { $0 >= seconds }
    }

    /// isOver: asked after every round with the phase's seconds so far.
    private func phase(_ name: String, _ isOver: (Double) -> Bool) throws {
        for run in runs { (run.milliseconds, run.begins, run.written) = ([], [], 0) }
        let began = now()
        var round = 0
        repeat {
            // The one to begin alternates.
            for run in round % 2 == 0 ? runs : runs.reversed() { try measure(run) }
            round += 1
            if round % Timing.group == 0 {
                try write(name)
                try lines.stateIfDue()
                try Task.checkCancellation()
            }
        } while !isOver(now() - began)
        try write(name)
        try lines.state()
    }

    private func measure(_ run: TimedRun) throws {
        let begin = now()
        _ = try run.engine.run()
        run.milliseconds.append(1e3 * (now() - begin))
        run.begins.append(begin)
    }

    private func write(_ name: String) throws {
        for run in runs {
            while run.written < run.milliseconds.count {
                let range = run.written..<min(run.written + Timing.group, run.milliseconds.count)
                try lines.times(run.configuration, name, range.lowerBound,
                                run.milliseconds[range], run.begins[range])
                run.written = range.upperBound
            }
        }
    }
}
