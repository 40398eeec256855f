import Foundation

/// A job of a folder of labelled images, made and read on the device itself: the host reads its record like
/// any other's.
public struct AccuracyJob: Sendable {
    public struct Labelled: Sendable {
        public let name: String
        public let url: URL
        public let classIndex: Int
    }

    /// A file, where it lies, and how it is run by the protocol's names.
    public struct Candidate: Sendable {
        let file: Manifest.ModelFile
        let url: URL
        let delegate: String
        let threads: Int

        public init(file: Manifest.ModelFile, url: URL, delegate: String, threads: Int) {
            self.file = file
            self.url = url
            self.delegate = delegate
            self.threads = threads
        }
    }

    /// correct: how many of `count` images a file answers rightly, in the files' order; changed: names of
    /// the images of which the first file says another class than the second.
    public struct Outcome: Equatable, Sendable {
        public let count: Int
        public let correct: [Int]
        public let changed: [String]
    }

    public let id: String
    let names: [String]
    let targets: [Int]

    /// Files of the subfolders that are called by a class's id or label. Throws `BadInput` where none is.
    public static func images(below folder: URL, _ manifest: Manifest) throws -> [Labelled] {
        var found: [Labelled] = []
        let manager = FileManager.default
        for (index, label) in manifest.labels.enumerated() {
            for name in Set([label.id, label.label]) where !name.isEmpty && !name.contains("/") {
                let place = folder.appendingPathComponent(name, isDirectory: true)
                let files = ((try? manager.contentsOfDirectory(atPath: place.path)) ?? []).filter { !$0.hasPrefix(".") }
                found += files.sorted().map {
                    Labelled(name: "\(name)/\($0)", url: place.appendingPathComponent($0), classIndex: index)
                }
            }
        }
        guard !found.isEmpty else {
            throw BadInput("The folder has no subfolder with images that is called like a class, as '\(manifest.labels[0].id)'.")
        }
        return found
    }

    /// Lays `jobs/ID` with the files, the golden images, and the images prepared; what can't be decoded is
    /// left out. golden: an image of the manifest as it lies in the bundle. Throws `BadInput` where no image is
    /// left, `CancellationError`, and what the file system throws.
    public static func make(
        in store: JobStore, _ manifest: Manifest, manifestData: Data, _ candidates: [Candidate], _ images: [Labelled],
        golden: (String) throws -> Data, decode: (Data) throws -> PixelImage, progress: (Int) -> Void = { _ in }
    ) throws -> AccuracyJob {
        let manager = FileManager.default
        let jobs = store.root.appendingPathComponent("jobs", isDirectory: true)
        let folder = jobs.appendingPathComponent("new", isDirectory: true)
        try? manager.removeItem(at: folder)
        defer { try? manager.removeItem(at: folder) }
        try manager.createDirectory(at: folder.appendingPathComponent("models"), withIntermediateDirectories: true)
        try manifestData.write(to: folder.appendingPathComponent(Manifest.fileName))
        let packed = folder.appendingPathComponent("pixels")
        try Data().write(to: packed)
        let handle = try FileHandle(forWritingTo: packed)
        defer { try? handle.close() }
        var kept: [Labelled] = []
        for (number, image) in images.enumerated() {
            try Task.checkCancellation()
            progress(number)
            guard let pixels = try? manifest.preprocess.pixels(decode(Data(contentsOf: image.url))) else { continue }
            try handle.write(contentsOf: Data(pixels.rgb))
            kept.append(image)
        }
        guard !kept.isEmpty else { throw BadInput("None of the \(images.count) images can be decoded.") }
        var files: [JSON] = []
        for candidate in candidates {
            let path = "models/\(candidate.url.lastPathComponent)"
            let laid = folder.appendingPathComponent(path)
            try manager.copyItem(at: candidate.url, to: laid)
            let sha256 = JobFolder.isCompiled(path) ? candidate.file.sha256 : try Hash.of(fileAt: laid)
            files.append(entry(candidate, path, sha256, twin: candidates.count == 2 && files.isEmpty ? candidates[1] : nil))
        }
        let goldens: [JSON] = try manifest.golden.map { entry in
            let data = try golden(entry.image), place = folder.appendingPathComponent(entry.image)
            try manager.createDirectory(at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
            try data.write(to: place)
            return hashed(entry.image, Hash.of(data))
        }
        let size = manifest.preprocess.size
        let job: [JSON.Member] = [
            .init("schema", .string(Job.schema)), .init("model", .string(manifest.model)),
            .init("manifest", hashed(Manifest.fileName, Hash.of(manifestData))), .init("files", .array(files)),
            .init("inputs", .object([
                .init("kind", .string("pixels")), .init("count", .integer(kept.count)),
                .init("path", .string("pixels")), .init("sha256", .string(try Hash.of(fileAt: packed))),
                .init("shape", .array([kept.count, size.height, size.width, 3].map { .integer($0) })),
                .init("items", .array(kept.map {
                    .object([.init("name", .string($0.name)), .init("target", .integer($0.classIndex))])
                })),
            ])),
            .init("golden", .array(goldens)), .init("configurations", .array(candidates.map(configuration))),
            .init("accuracy", .bool(true)), .init("latency", .null), .init("sustained_seconds", .integer(0)),
            .init("logits", .bool(false)),
        ]
        let id = Hash.of(Array(JSON.object(job).sorted.text.utf8))
        let whole = JSON.object(job + [.init("id", .string(id))])
        let text = Data(whole.text.utf8)
        try text.write(to: folder.appendingPathComponent(Job.fileName))
        let beside = description(of: store.record(id))
        try manager.createDirectory(at: beside.deletingLastPathComponent(), withIntermediateDirectories: true)
        try text.write(to: beside)
        let place = jobs.appendingPathComponent(id, isDirectory: true)
        if !manager.fileExists(atPath: place.path) { try manager.moveItem(at: folder, to: place) }
        return AccuracyJob(id: id, names: kept.map(\.name), targets: kept.map(\.classIndex))
    }

    /// Runs the job and says what its record holds. However the run ends, the job's folder is removed, which
    /// `make` lays again, and the record kept, from which the same job goes on. Throws what the runner throws.
    public func run(
        in store: JobStore, device: Device, progress: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> Outcome {
        defer { store.remove(id) }
        try await JobRunner(folder: store.open(id), record: store.record(id), device: device, progress: progress).run()
        return try outcome(store)
    }

    /// What the record of the job says. Throws where it can't be read.
    func outcome(_ store: JobStore) throws -> Outcome {
        var best: [Int: [Int: Int]] = [:]
        try RecordFile.forEachLine(of: store.record(id)) { bytes in
            guard let line = Line.decode(bytes), line["type"]?.string == "image", line["job"]?.string == String(id.prefix(16)),
                  let configuration = line["configuration"]?.int, let image = line["image"]?.int
            else { return }
            best[configuration, default: [:]][image] = line["top"]?.array?.first?.array?.first?.int ?? -1
        }
        let count = best.keys.max().map { $0 + 1 } ?? 0
        let correct = (0..<count).map { configuration in
            targets.indices.filter { best[configuration]?[$0] == targets[$0] }.count
        }
        let changed = names.indices.filter { count > 1 && best[0]?[$0] != best[1]?[$0] }.map { names[$0] }
        return Outcome(count: names.count, correct: correct, changed: changed)
    }

    /// Where the job of a record is kept, without which the host can't read it.
    public static func description(of record: URL) -> URL {
        record.deletingPathExtension().appendingPathExtension("json")
    }

    private static func hashed(_ path: String, _ sha256: String) -> JSON {
        .object([.init("path", .string(path)), .init("sha256", .string(sha256))])
    }

    private static func entry(_ one: Candidate, _ path: String, _ sha256: String, twin: Candidate?) -> JSON {
        .object([
            .init("name", .string(one.file.file)), .init("path", .string(path)), .init("sha256", .string(sha256)),
            .init("bytes", .integer(one.file.bytes)), .init("target", .string(one.file.target)),
            .init("precision", .string(one.file.precision)), .init("twin", .text(twin?.file.file)),
        ])
    }

    private static func configuration(_ one: Candidate) -> JSON {
        .object([
            .init("file", .string(one.file.file)), .init("threads", .integer(one.threads)),
            .init("delegate", .string(one.delegate)), .init("self_test_only", .bool(false)),
        ])
    }
}
