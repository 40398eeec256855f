import Foundation

/// What is shipped with a model. Keys that this app doesn't need are left out.
public struct Manifest: Codable, Equatable, Sendable {
    public static let schema = "mobilemod/manifest/1"
    public static let fileName = "manifest.json"

    /// What files give of a map: scores for each class at each pixel, or the map itself, uint8.
    public enum Answer: String, Codable, Sendable { case scores, classes }

    public struct Label: Codable, Equatable, Sendable {
        public let id: String
        public let label: String
    }

    public struct ModelFile: Codable, Equatable, Sendable, Hashable {
        public let file: String
        public let target: String
        public let precision: String
        public let sha256: String
        public let bytes: Int
    }

    /// An image of the input's size and what each model file answers for its values: logits, or, of
    /// networks of maps, the runs of one.
    public struct Golden: Codable, Equatable, Sendable {
        public let image: String
        public let logits: [String: [Double]]?
        public let runs: [String: [Int]]?

        init(image: String, logits: [String: [Double]]? = nil, runs: [String: [Int]]? = nil) {
            self.image = image
            self.logits = logits
            self.runs = runs
        }
    }

    public let schema: String
    public let model: String
    public let classCount: Int
    /// Of a map, where the files make one.
    public let map: MapSize?
    /// What they give of it; nil: scores.
    public let answer: Answer?
    public let labels: [Label]
    public let preprocess: Preprocess
    public let tools: [String: String]
    public let files: [ModelFile]
    public let golden: [Golden]

    enum CodingKeys: String, CodingKey {
        case schema, model, map, answer, labels, preprocess, tools, files, golden
        case classCount = "num_classes"
    }

    /// Throws `BadInput` where it is damaged, of another schema, or contradicts itself.
    public static func read(_ data: Data) throws -> Manifest {
        let manifest = try Document.decode(Manifest.self, JSON.document(data, fileName), fileName)
        try manifest.check()
        return manifest
    }

    private func check() throws {
        guard schema == Manifest.schema else {
            throw BadInput("\(Manifest.fileName) has schema '\(schema)'; expected \(Manifest.schema)")
        }
        guard labels.count == classCount, classCount > 0 else {
            throw BadInput("\(Manifest.fileName): \(labels.count) labels for \(classCount) classes")
        }
        for path in files.map(\.file) + golden.map(\.image) where !JobPath.isSafe(path) {
            throw BadInput("\(Manifest.fileName): '\(path)' is no path inside the bundle")
        }
        if map != nil, classCount > ClassMap.none {
            throw BadInput("\(Manifest.fileName): \(classCount) classes; a map has at most \(ClassMap.none)")
        }
        if map == nil, answer == .classes { throw BadInput("\(Manifest.fileName): answer 'classes' without a map") }
        for entry in golden { try check(entry) }
    }

    private func check(_ golden: Golden) throws {
        let name = Manifest.fileName
        if let map {
            guard let runs = golden.runs else { throw BadInput("\(name): golden 'runs' is missing") }
            for (file, runs) in runs { _ = try Runs.read(runs, map, "\(name): golden runs of \(file)") }
            return
        }
        guard let logits = golden.logits else { throw BadInput("\(name): golden 'logits' is missing") }
        for (file, logits) in logits where logits.count != classCount {
            throw BadInput("\(name): \(logits.count) golden logits of \(file) for \(classCount) classes")
        }
    }

    /// How many values a file's output has.
    public var outputCount: Int { (answer == .classes ? 1 : classCount) * (map?.pixels ?? 1) }

    /// What an output of a file of `target` tells of a map; nil where outputs are no maps. Throws
    /// `BadInput` for another number of values than this says.
    public func mapOutput(_ output: [Float], _ target: String) throws -> MapOutput? {
        guard let map else { return nil }
        if answer == .classes { return try MapCodes(output, map, classes: classCount) }
        return try Scores(output, map, classes: classCount, order: Scores.Order(target: target))
    }

    /// Those of one target, in the manifest's order.
    public func files(of targets: Set<String>) -> [ModelFile] {
        files.filter { targets.contains($0.target) }
    }

    /// A class's name for people.
    public func label(_ classIndex: Int) -> String {
        labels.indices.contains(classIndex) ? labels[classIndex].label : "class \(classIndex)"
    }
}
