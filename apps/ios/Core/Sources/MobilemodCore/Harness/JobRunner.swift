import Foundation

/// Runs a job in the protocol's order and writes its lines.
///
/// Between images and between groups of timed values it may be cancelled or killed: what was written
/// counts, and the next start goes on from there.
public final class JobRunner {
    public static let protocolName = "mobilemod/harness/1"
    static let failuresInARow = 3
    static let grey: UInt8 = 128

    private let folder: JobFolder
    private let device: Device
    private let lines: LineWriter
    private let manifest: Manifest
    private var remaining: Remaining
    private var progress: @Sendable (String) -> Void
    private var unreadable: Set<Int> = []
    private var timedPixels: PixelImage?
    /// Configurations of which nothing more is run.
    private var ended: Set<Int> = []

    private var job: Job { folder.job }
    private var answers: Answers { Answers(manifest: manifest) }

    /// Throws `BadInput` where the manifest or `resume.json` is damaged, and what the file system
    /// throws where the record can't be opened. progress: told what is being done, for people.
    public init(
        folder: JobFolder, record: URL, device: Device,
        progress: @escaping @Sendable (String) -> Void = { _ in }
    ) throws {
        self.folder = folder
        self.device = device
        self.progress = progress
        remaining = Remaining(job: folder.job)
        var own = remaining
        try RecordFile.forEachLine(of: record) { own.add(line: $0) }
        if let resume = try folder.resume() { own.add(resume) }
        remaining = own
        lines = LineWriter(job: folder.job, file: try RecordFile(record), device: device)
        manifest = try Manifest.read(folder.data(folder.job.manifest.path))
    }

    /// Throws `CancellationError` where the task is cancelled, `BadInput` for a fatal fault (which the
    /// record tells too), and what writing the record throws.
    public func run() async throws {
        try lines.hello()
        do {
            progress("checking files")
            try folder.checkHashes()
        } catch let error as BadInput {
            try lines.error("job", error.message, fatal: true)
            try lines.flush()
            throw error
        }
        try lines.state()
        for index in job.measured { try await answer(index) }
        if let latency = job.latency {
            for group in job.timedGroups { try await time(group, "latency", latency) }
        }
        if job.sustainedSeconds > 0 {
            for index in job.measured { try await time([index], "sustained", nil) }
        }
        // Last: a unit that takes the app down costs nothing that is measured.
        for index in job.configurations.indices where job.configurations[index].selfTestOnly {
            try await answer(index)
        }
        try lines.state()
        try lines.done()
    }

    // MARK: What fails

    /// What `body` gives; nil where it fails, which the record tells and which ends the configuration.
    private func guarded<T>(_ place: String, _ index: Int, _ body: () throws -> T) throws -> T? {
        do {
            return try body()
        } catch let error where !error.endsRun {
            try end(place, index, error)
            return nil
        }
    }

    private func end(_ place: String, _ index: Int, _ error: Error) throws {
        try fail(place, index, error)
        ended.insert(index)
    }

    private func fail(_ place: String, _ index: Int, _ error: Error, image: Int? = nil) throws {
        let message = "\(job.configurations[index].file): \(error)"
        try lines.error(place, message, configuration: index, image: image)
    }

    private func wants(_ index: Int, _ phase: String) -> Bool {
        !ended.contains(index) && !remaining.isFinished(index, phase)
    }

    // MARK: Golden self-test and accuracy

    private func answer(_ index: Int) async throws {
        let needsGolden = wants(index, "golden")
        let needsAccuracy = job.accuracyConfigurations.contains(index) && wants(index, "accuracy")
        guard needsGolden || needsAccuracy, let engine = try await load(index, cold: 0) else { return }
        if needsGolden { try golden(index, engine) }
        if needsAccuracy, !ended.contains(index) { try accuracy(index, engine) }
    }

    private func golden(_ index: Int, _ engine: Engine) throws {
        for (number, file) in job.golden.enumerated() {
            guard let image = try guarded("golden", index, { try device.decode(folder.data(file.path)) })
            else { return }
            // What an image goes through before it is the same on every unit.
            let own = !job.configurations[index].selfTestOnly
            let ways: [(String, () throws -> PixelImage)] = [
                ("pixels", { try self.exact(image, file.path) }),
                ("image", { self.manifest.preprocess.pixels(image) }),
            ]
            for (source, pixels) in own ? ways : [ways[0]] {
                let answer = try guarded("golden", index) {
                    try engine.prepare(pixels())
                    return try answers.golden(engine.run(), target(index))
                }
                guard let answer else { return }
                try lines.write("golden", [
                    .init("configuration", .integer(index)), .init("image", .integer(number)),
                    .init("source", .string(source)), answer,
                ])
            }
        }
        try finish(index, "golden")
    }

    private func target(_ index: Int) -> String { job.file(of: job.configurations[index])?.target ?? "" }

    /// An image whose values are fed as they are.
    private func exact(_ image: PixelImage, _ path: String) throws -> PixelImage {
        let size = manifest.preprocess.size
        guard size.fits(image) else {
            throw BadInput("\(path) is \(image.width) x \(image.height), not \(size)")
        }
        return image
    }

    private func accuracy(_ index: Int, _ engine: Engine) throws {
        let file = job.configurations[index].file
        let images = remaining.images(of: file)
        var failures = (all: 0, inARow: 0)
        for (count, image) in images.enumerated() where !unreadable.contains(image) {
            try Task.checkCancellation()
            progress("\(file): image \(count + 1) of \(images.count)")
            let began = device.now()
            let pixels: PixelImage
            do {
                pixels = try inputPixels(image)
            } catch let error where !error.endsRun {
                unreadable.insert(image)
                try lines.write("unreadable", [
                    .init("image", .integer(image)), .init("message", .string("\(error)")),
                ])
                continue
            }
            do {
                try engine.prepare(pixels)
                let prepared = device.now()
                let output = try engine.run()
                let inferred = device.now()
                let answer = try answers.image(output, target(index), withLogits: job.logits)
                try lines.write("image", [
                    .init("configuration", .integer(index)), .init("image", .integer(image)),
                ] + answer + [
                    .init("preprocess_ms", .real(1e3 * (prepared - began))),
                    .init("inference_ms", .real(1e3 * (inferred - prepared))),
                ])
                failures.inARow = 0
            } catch let error where !error.endsRun {
                try fail("accuracy", index, error, image: image)
                failures = (failures.all + 1, failures.inARow + 1)
                if failures.inARow == JobRunner.failuresInARow {
                    ended.insert(index)
                    return
                }
            }
            try lines.stateIfDue()
        }
        if failures.all == 0 { try finish(index, "accuracy") }
    }

    /// uint8 (height, width, 3) of an input.
    private func inputPixels(_ index: Int) throws -> PixelImage {
        if let path = job.inputs.items[index].path {
            return try manifest.preprocess.pixels(device.decode(folder.data(path)))
        }
        guard let path = job.inputs.path, let shape = job.inputs.shape else {
            throw BadInput("input \(index) has no path")
        }
        let size = shape[1] * shape[2] * shape[3]
        let handle = try FileHandle(forReadingFrom: folder.resolve(path))
        defer { try? handle.close() }
        try handle.seek(toOffset: UInt64(index * size))
        let bytes = [UInt8](try handle.read(upToCount: size) ?? Data())
        return try PixelImage(width: shape[2], height: shape[1], rgb: bytes)
    }

    // MARK: Times

    /// Loads for latency: 0 where it isn't measured.
    private var latencyLoads: Int { job.latency.map { max(1, $0.coldStarts) } ?? 0 }

    private func time(_ group: [Int], _ phase: String, _ latency: Job.Latency?) async throws {
        guard group.contains(where: { wants($0, phase) }) else { return }
        let sustained = latencyLoads + 1
        let colds = latency == nil ? sustained...sustained : 1...latencyLoads
        var runs: [TimedRun] = []
        for index in group where !ended.contains(index) {
            guard let engine = try await load(index, colds) else { continue }
            let input: Void? = try guarded(phase, index) { try engine.prepare(timedInput()) }
            if input != nil { runs.append(TimedRun(configuration: index, engine: engine)) }
        }
        guard !runs.isEmpty else { return }
        progress("timing " + runs.map { job.configurations[$0.configuration].file }.joined(separator: " and "))
        let timing = Timing(lines: lines, now: device.now) { try self.end(phase, $0, $1) }
        if let latency {
            try timing.warmUp(&runs, latency)
            try timing.steady(&runs, latency)
        } else {
            try timing.sustained(&runs, job.sustainedSeconds)
        }
        for run in runs { try finish(run.configuration, phase) }
    }

    /// What is timed, and fed first after a load: the first golden image as it is, else grey.
    private func timedInput() throws -> PixelImage {
        if let timedPixels { return timedPixels }
        let size = manifest.preprocess.size
        let pixels = try job.golden.first.map { try exact(device.decode(folder.data($0.path)), $0.path) }
            ?? PixelImage(unchecked: size.width, size.height, [UInt8](
                repeating: JobRunner.grey, count: 3 * size.height * size.width
            ))
        timedPixels = pixels
        return pixels
    }

    // MARK: Loading

    /// The last of several fresh loads; nil where one fails.
    private func load(_ index: Int, _ colds: ClosedRange<Int>) async throws -> Engine? {
        var engine: Engine?
        for cold in colds {
            engine = nil  // the one before is gone before the next is loaded
            engine = try await load(index, cold: cold)
            if engine == nil { return nil }
        }
        return engine
    }

    /// A fresh load and its line; nil where it fails, or can't be run here, either of which ends the
    /// configuration. cold: as the line has it.
    private func load(_ index: Int, cold: Int) async throws -> Engine? {
        let configuration = job.configurations[index]
        guard let file = job.file(of: configuration) else { return nil }
        try Task.checkCancellation()
        progress("loading \(file.name)")
        do {
            let url = try folder.resolve(file.path)
            try await device.install(file, at: url)
            let began = device.now()
            let engine = try await device.load(file, at: url, configuration: configuration, manifest: manifest)
            try await loadLine(index, cold, device.now() - began, engine)
            return engine
        } catch let error where !error.endsRun {
            if configuration.selfTestOnly || error is Unavailable {
                try lines.write("unavailable", [
                    .init("configuration", .integer(index)), .init("message", .string("\(error)")),
                ])
                ended.insert(index)
            } else {
                try end("load", index, error)
            }
            return nil
        }
    }

    private func loadLine(_ index: Int, _ cold: Int, _ seconds: Double, _ engine: Engine) async throws {
        try engine.prepare(timedInput())
        let began = device.now()
        let output = try engine.run()
        let milliseconds = 1e3 * (device.now() - began)
        guard output.count == manifest.outputCount else {
            throw BadInput("\(output.count) values; the manifest's outputs have \(manifest.outputCount)")
        }
        // Once: the plan may leave in a cache what a cold start would have to load.
        let placed = cold == 0 ? try await engine.placed : nil
        let fallback = placed.map { $0["CPU"] ?? 0 }
        let counts = placed?.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .integer($0.value)) }
        try lines.write("load", [
            .init("configuration", .integer(index)), .init("seconds", .real(seconds)),
            .init("first_inference_ms", .real(milliseconds)), .init("cold", .integer(cold)),
            .init("runtime", .string(engine.runtime)), .init("partitions", .integer(engine.partitions)),
            .init("fallback", .integer(fallback)), .init("accelerated", fallback.map { .bool($0 == 0) } ?? .null),
            .init("placed", counts.map { .object($0) } ?? .null),
        ])
    }

    private func finish(_ index: Int, _ phase: String) throws {
        try lines.state()
        try lines.write("finished", [
            .init("configuration", .integer(index)), .init("phase", .string(phase)),
        ])
        try lines.flush()
    }
}
