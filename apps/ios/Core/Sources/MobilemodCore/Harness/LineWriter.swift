import Foundation

/// The record can't be written: a full disk, say. Nothing can be told in it.
public struct RecordFault: LocalizedError {
    public let cause: Error
    public var errorDescription: String? { "the record can't be written: \(cause.localizedDescription)" }
}

extension Error {
    /// Whether it ends the run of a job, instead of being told in its record.
    var endsRun: Bool { self is CancellationError || self is RecordFault }
}

/// Writes the lines of one run of a job: numbers them, dates them and counts them.
final class LineWriter {
    static let stateSeconds = 5.0

    private let job: Job
    private let file: RecordFile
    private let device: Device
    private let run: String
    private let start: Double
    private var sequence = 0
    private var lastState = -Double.infinity
    private var counts = (answered: 0, timed: 0, errors: 0)

    init(job: Job, file: RecordFile, device: Device) {
        self.job = job
        self.file = file
        self.device = device
        let digits = String(UInt64.random(in: .min ... .max), radix: 16)
        run = String(repeating: "0", count: 16 - digits.count) + digits
        start = device.now()
    }

    /// Throws `RecordFault`.
    func write(_ type: String, _ members: [JSON.Member]) throws {
        let head: [JSON.Member] = [
            .init("type", .string(type)), .init("job", .string(job.shortID)), .init("run", .string(run)),
            .init("seq", .integer(sequence)), .init("t", rounded(device.now() - start)),
        ]
        do {
            try file.add(Line.encode(head + members))
        } catch {
            throw RecordFault(cause: error)
        }
        sequence += 1
        if type == "image" { counts.answered += 1 }
    }

    func flush() throws {
        do { try file.flush() } catch { throw RecordFault(cause: error) }
    }

    func hello() throws {
        let head: [JSON.Member] = [.init("protocol", .string(JobRunner.protocolName))]
        let wall = JSON.Member("wall", .string(ISO8601DateFormatter().string(from: Date())))
        try write("hello", head + device.facts.members + [wall])
    }

    func state() throws {
        lastState = device.now()
        try write("state", device.state().members)
    }

    func stateIfDue() throws {
        if device.now() - lastState >= LineWriter.stateSeconds { try state() }
    }

    func error(
        _ place: String, _ message: String, configuration: Int? = nil, image: Int? = nil, fatal: Bool = false
    ) throws {
        counts.errors += 1
        try write("error", [
            .init("where", .string(place)), .init("message", .string(String(message.prefix(500)))),
            .init("configuration", .integer(configuration)), .init("image", .integer(image)),
            .init("fatal", .bool(fatal)),
        ])
    }

    /// begins: of the device's clock.
    func times(
        _ configuration: Int, _ phase: String, _ first: Int, _ milliseconds: ArraySlice<Double>,
        _ begins: ArraySlice<Double>
    ) throws {
        counts.timed += milliseconds.count
        try write("times", [
            .init("configuration", .integer(configuration)), .init("phase", .string(phase)),
            .init("first", .integer(first)), .init("ms", .array(milliseconds.map { rounded($0) })),
            .init("at", .array(begins.map { rounded($0 - start) })),
        ])
    }

    /// To a millionth, which is a nanosecond of a value in milliseconds.
    private func rounded(_ value: Double) -> JSON { .real((value * 1e6).rounded() / 1e6) }

    func done() throws {
        try write("done", [
            .init("answered", .integer(counts.answered)), .init("timed", .integer(counts.timed)),
            .init("errors", .integer(counts.errors)),
        ])
        try flush()
    }
}
