import Foundation

/// What lines tell of an output of a file of a target: logits, or, of a network of maps, the map as its
/// runs. Throws `BadInput` where a map's output has another number of values than the manifest says.
struct Answers {
    private static let top = 5

    let manifest: Manifest

    /// Of a `golden` line.
    func golden(_ output: [Float], _ target: String) throws -> JSON.Member {
        if let map = try manifest.mapOutput(output, target)?.map() { return runs(map) }
        return logits(output)
    }

    /// Of an `image` line. withLogits: where they are no map.
    func image(_ output: [Float], _ target: String, withLogits: Bool) throws -> [JSON.Member] {
        if let map = try manifest.mapOutput(output, target)?.map() {
            return [.init("top", .array([])), runs(map), .init("logits_sha256", .string(map.sha256()))]
        }
        let top = Logits.top(output, Answers.top).map { JSON.array([.integer($0.classIndex), .real($0.logit)]) }
        let told: [JSON.Member] = [
            .init("top", .array(top)), .init("logits_sha256", .string(Logits.sha256(output))),
        ]
        return withLogits ? told + [logits(output)] : told
    }

    private func runs(_ map: ClassMap) -> JSON.Member {
        .init("runs", .array(Runs.of(map).map { .integer($0) }))
    }

    private func logits(_ output: [Float]) -> JSON.Member {
        .init("logits", .array(output.map { .real($0) }))
    }
}
