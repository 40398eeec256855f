import Foundation
import XCTest
@testable import MobilemodCore

/// Jobs and what they run on, for tests.
enum Jobs {
    /// A job's values as JSON, its id as given.
    static func members(id: String, files: [String], count: Int, configurations: JSON) throws -> JSON {
        .object([
            .init("schema", .string(Job.schema)), .init("id", .string(id)), .init("model", .string("m")),
            .init("manifest", hashed("manifest.json")),
            .init("files", .array(files.map { file($0, sha256: "", twin: nil) })),
            .init("inputs", .object([
                .init("kind", .string("images")), .init("count", .integer(count)),
                .init("items", .array((0..<count).map { index in
                    .object([
                        .init("name", .string("n")), .init("path", .string("inputs/\(index).jpg")),
                        .init("sha256", .string("")), .init("target", .null),
                    ])
                })),
            ])),
            .init("golden", .array([])), .init("configurations", configurations),
            .init("accuracy", .bool(true)), .init("latency", .null),
            .init("sustained_seconds", .integer(0)), .init("logits", .bool(true)),
        ])
    }

    static func hashed(_ path: String, _ sha256: String = "") -> JSON {
        .object([.init("path", .string(path)), .init("sha256", .string(sha256))])
    }

    static func file(_ name: String, sha256: String, twin: String?) -> JSON {
        .object([
            .init("name", .string(name)), .init("path", .string("models/\(name)")),
            .init("sha256", .string(sha256)), .init("bytes", .integer(1)),
            .init("target", .string("executorch")),
            .init("precision", .string(twin == nil ? "float32" : "int8")), .init("twin", .text(twin)),
        ])
    }

    static func configuration(_ file: String, threads: Int = 1) -> JSON {
        .object([
            .init("file", .string(file)), .init("threads", .integer(threads)),
            .init("delegate", .string("xnnpack")),
        ])
    }

    /// `values` with the id that it has by the protocol.
    static func withID(_ values: [JSON.Member]) -> JSON {
        let id = Hash.of(Array(JSON.object(values).sorted.text.utf8))
        return .object(values + [.init("id", .string(id))])
    }
}

/// A small classifier that really computes: each class is a fixed weighting of the mean colour of
/// the image's quarters, so that swapped colours or turned images change the logits.
final class QuarterEngine: Engine, @unchecked Sendable {
    let runtime = "quarters"
    let partitions: Int? = nil
    var damage: (PixelImage) -> PixelImage = { $0 }
    private let preprocess: Preprocess
    private let classes: Int
    private var tensor: [Float] = []

    init(_ preprocess: Preprocess, classes: Int) {
        self.preprocess = preprocess
        self.classes = classes
    }

    func prepare(_ pixels: PixelImage) throws {
        guard preprocess.size.fits(pixels) else {
            throw BadInput("\(pixels.width) x \(pixels.height) pixels, not \(preprocess.size)")
        }
        tensor = preprocess.normalize(damage(pixels))
    }

    func run() throws -> [Float] {
        let size = preprocess.size
        let (high, wide) = (size.height / 2, size.width / 2)
        var means = [Float](repeating: 0, count: 12)
        for c in 0..<3 {
            for y in 0..<size.height {
                for x in 0..<size.width {
                    means[c * 4 + (y / high) * 2 + x / wide] += tensor[(c * size.height + y) * size.width + x]
                }
            }
        }
        return (0..<classes).map { k in
            means.enumerated().reduce(Float(0)) { sum, item in
                sum + item.element / Float(high * wide) * Float((item.offset + 1) * (k + 2) % 7 - 3)
            }
        }
    }
}

/// A manifest of any size and number of classes.
func manifest(size: Int = 64, width: Int? = nil, classes: Int = 5, map: MapSize? = nil,
              answer: Manifest.Answer? = nil, golden: [Manifest.Golden] = []) throws -> Manifest {
    let preprocess = try Preprocess(
        size: InputSize(height: size, width: width ?? size), cropFraction: 0.9, interpolation: .bicubic,
        mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]
    )
    return Manifest(
        schema: Manifest.schema, model: "m", classCount: classes, map: map, answer: answer,
        labels: (0..<classes).map { Manifest.Label(id: "n\($0)", label: "class \($0)") },
        preprocess: preprocess, tools: ["executorch": "1.5.1"],
        files: [Manifest.ModelFile(file: "a.pte", target: "executorch", precision: "float32", sha256: String(repeating: "5", count: 64), bytes: 1)],
        golden: golden
    )
}
