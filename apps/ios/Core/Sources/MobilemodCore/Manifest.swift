import Foundation

/// What is shipped with a model. Keys that this app doesn't need are left out.
public struct Manifest: Codable, Equatable, Sendable {
    public static let schema = "mobilemod/manifest/1"
    public static let fileName = "manifest.json"

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

    /// An image of the input's size and the logits that each model file gives for its values.
    public struct Golden: Codable, Equatable, Sendable {
        public let image: String
        public let logits: [String: [Double]]
    }

    public let schema: String
    public let model: String
    public let classCount: Int
    public let labels: [Label]
    public let preprocess: Preprocess
    public let tools: [String: String]
    public let files: [ModelFile]
    public let golden: [Golden]

    enum CodingKeys: String, CodingKey {
        case schema, model, labels, preprocess, tools, files, golden
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
        for entry in golden {
            for (file, logits) in entry.logits where logits.count != classCount {
                throw BadInput(
                    "\(Manifest.fileName): \(logits.count) golden logits of \(file) for \(classCount) classes"
                )
            }
        }
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
