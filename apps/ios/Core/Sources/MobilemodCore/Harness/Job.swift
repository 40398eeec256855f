import Foundation

/// A job of the harness, `mobilemod/job/1`.
public struct Job: Codable, Equatable, Sendable {
    public static let schema = "mobilemod/job/1"
    public static let fileName = "job.json"

    public struct HashedFile: Codable, Equatable, Sendable {
        public let path: String
        public let sha256: String
    }

    public struct ModelFile: Codable, Equatable, Sendable {
        public let name: String
        public let path: String
        public let sha256: String
        public let bytes: Int
        public let target: String
        public let precision: String
        public let twin: String?
    }

    public struct Input: Codable, Equatable, Sendable {
        public let name: String
        public let path: String?
        public let sha256: String?
    }

    public struct Inputs: Codable, Equatable, Sendable {
        public let kind: String
        public let count: Int
        public let items: [Input]
        /// Of kind "pixels" only: one raw uint8 file, (N, S, S, 3).
        public let path: String?
        public let sha256: String?
        public let shape: [Int]?
    }

    public struct Configuration: Codable, Equatable, Sendable {
        public let file: String
        public let threads: Int
        public let delegate: String
        /// Its answers on the golden images are all that is asked for.
        public let selfTestOnly: Bool

        enum CodingKeys: String, CodingKey {
            case file, threads, delegate, selfTestOnly = "self_test_only"
        }

        public init(from decoder: Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            file = try values.decode(String.self, forKey: .file)
            threads = try values.decode(Int.self, forKey: .threads)
            delegate = try values.decode(String.self, forKey: .delegate)
            selfTestOnly = try values.decodeIfPresent(Bool.self, forKey: .selfTestOnly) ?? false
        }
    }

    public struct Latency: Codable, Equatable, Sendable {
        public let warmUpSeconds: Double
        public let warmUpMax: Int
        public let minRuns: Int
        public let minSeconds: Double
        public let coldStarts: Int

        enum CodingKeys: String, CodingKey {
            case warmUpSeconds = "warm_up_seconds", warmUpMax = "warm_up_max"
            case minRuns = "min_runs", minSeconds = "min_seconds", coldStarts = "cold_starts"
        }
    }

    public let schema: String
    public let id: String
    public let model: String
    public let manifest: HashedFile
    public let files: [ModelFile]
    public let inputs: Inputs
    public let golden: [HashedFile]
    public let configurations: [Configuration]
    public let accuracy: Bool
    public let latency: Latency?
    public let sustainedSeconds: Double
    public let logits: Bool

    enum CodingKeys: String, CodingKey {
        case schema, id, model, manifest, files, inputs, golden, configurations, accuracy, latency, logits
        case sustainedSeconds = "sustained_seconds"
    }

    /// The first 16 digits of the id, as lines have it.
    public var shortID: String { String(id.prefix(16)) }

    /// The file of a configuration.
    public func file(of configuration: Configuration) -> ModelFile? {
        files.first { $0.name == configuration.file }
    }

    /// Indices of the configurations that aren't there for their self-test alone.
    public var measured: [Int] { configurations.indices.filter { !configurations[$0].selfTestOnly } }

    /// Index of a file's first measured configuration.
    public func firstMeasured(_ file: String) -> Int? {
        configurations.firstIndex { $0.file == file && !$0.selfTestOnly }
    }

    /// Index of the first measured configuration of each file: where its accuracy is measured.
    public var accuracyConfigurations: [Int] {
        guard accuracy else { return [] }
        return measured.filter { firstMeasured(configurations[$0].file) == $0 }
    }

    /// Configurations that are timed together: an int8 file's with its float twin's of the same
    /// threads and delegate, others alone. Indices, in the job's order.
    public var timedGroups: [[Int]] {
        var groups: [[Int]] = []
        var taken: Set<Int> = []
        for index in measured {
            guard let twin = file(of: configurations[index])?.twin else { continue }
            let own = configurations[index]
            let other = measured.first {
                configurations[$0].file == twin && configurations[$0].threads == own.threads
                    && configurations[$0].delegate == own.delegate && !taken.contains($0)
            }
            if let other, other != index, !taken.contains(index) {
                groups.append([index, other])
                taken.formUnion([index, other])
            }
        }
        groups += measured.filter { !taken.contains($0) }.map { [$0] }
        return groups.sorted { $0.min()! < $1.min()! }
    }

    /// Throws `BadInput` where it is damaged, of another schema, names paths outside its folder, or
    /// isn't the one that its id was made of.
    public static func read(_ data: Data) throws -> Job {
        let whole = try JSON.document(data, fileName)
        let job = try Document.decode(Job.self, whole, fileName)
        try job.check()
        let rest = JSON.object((whole.members ?? []).filter { $0.key != "id" })
        guard Hash.of(Array(rest.sorted.text.utf8)) == job.id else {
            throw BadInput("\(fileName) is not the job of its id; push it again")
        }
        return job
    }

    private func check() throws {
        func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
            if !condition { throw BadInput("\(Job.fileName): \(message())") }
        }
        try require(schema == Job.schema, "schema '\(schema)'; expected \(Job.schema)")
        try require(JobPath.isJobID(id), "'\(id)' is no job id")
        let paths = [manifest.path] + files.map(\.path) + golden.map(\.path)
            + inputs.items.compactMap(\.path) + [inputs.path].compactMap { $0 }
        for path in paths {
            try require(JobPath.isSafe(path), "'\(path)' is no path inside the job")
        }
        try require(["images", "pixels"].contains(inputs.kind), "inputs of kind '\(inputs.kind)'")
        try require(inputs.count == inputs.items.count, "\(inputs.items.count) inputs, not \(inputs.count)")
        if inputs.kind == "images" {
            try require(inputs.items.allSatisfy { $0.path != nil && $0.sha256 != nil }, "an input without path")
        } else {
            try require(inputs.path != nil && inputs.sha256 != nil && inputs.shape?.count == 4
                && inputs.shape?.first == inputs.count, "packed inputs without path or shape")
        }
        try require(Set(files.map(\.name)).count == files.count, "two files of one name")
        for configuration in configurations {
            try require(file(of: configuration) != nil, "no file '\(configuration.file)'")
            try require((0...256).contains(configuration.threads), "\(configuration.threads) threads")
        }
        try require(sustainedSeconds.isFinite && sustainedSeconds >= 0, "sustained_seconds")
    }
}

/// What the harness already holds, `mobilemod/resume/1`.
public struct Resume: Codable, Equatable, Sendable {
    public static let fileName = "resume.json"

    public struct Finished: Codable, Equatable, Sendable, Hashable {
        public let configuration: Int
        public let phase: String

        public init(configuration: Int, phase: String) {
            self.configuration = configuration
            self.phase = phase
        }

        public init(from decoder: Decoder) throws {
            var values = try decoder.unkeyedContainer()
            configuration = try values.decode(Int.self)
            phase = try values.decode(String.self)
        }

        public func encode(to encoder: Encoder) throws {
            var values = encoder.unkeyedContainer()
            try values.encode(configuration)
            try values.encode(phase)
        }
    }

    public let job: String
    public let answered: [String: [[Int]]]
    public let finished: [Finished]

    public init(job: String, answered: [String: [[Int]]], finished: [Finished]) {
        self.job = job
        self.answered = answered
        self.finished = finished
    }

    /// Throws `BadInput` where it is damaged.
    public static func read(_ data: Data) throws -> Resume {
        try Document.decode(Resume.self, JSON.document(data, fileName), fileName)
    }
}
