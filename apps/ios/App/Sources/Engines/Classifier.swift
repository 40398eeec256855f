import Foundation
import MobilemodCore

/// What a model says of an image, and how long it took.
struct Answer: Sendable {
    let top: [Ranked]
    /// Of `top`'s classes, 0…1.
    let probabilities: [Double]
    let preprocessMs: Double
    let inferenceMs: Double
}

/// Owns the loaded model. Everything that touches it runs on `queue`, where engines belong to one
/// thread at a time: camera frames are delivered there, other callers await.
final class Classifier: @unchecked Sendable {
    let queue = DispatchQueue(label: "io.mobilemod.classifier", qos: .userInitiated)
    private var engine: Engine?
    private var preprocess: Preprocess?

    /// Replaces the model; nil unloads it, so that a large one is gone before the next comes.
    func use(_ engine: Engine?, _ preprocess: Preprocess?) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            queue.async {
                self.engine = engine
                self.preprocess = preprocess
                continuation.resume()
            }
        }
    }

    /// Throws what the engine throws; nil while no model is loaded.
    func classify(_ image: PixelImage) async throws -> Answer? {
        try await run { try self.classifyOnQueue(image) }
    }

    /// As `classify`; to be called on `queue`.
    func classifyOnQueue(_ image: PixelImage) throws -> Answer? {
        guard let engine, let preprocess else { return nil }
        let began = Clock.seconds()
        try engine.prepare(preprocess.pixels(image))
        let prepared = Clock.seconds()
        let logits = try engine.run()
        let ended = Clock.seconds()
        let top = Logits.top(logits, 5)
        let all = Logits.softmax(logits)
        return Answer(
            top: top, probabilities: top.map { all[$0.classIndex] },
            preprocessMs: 1e3 * (prepared - began), inferenceMs: 1e3 * (ended - prepared)
        )
    }

    /// Work with the engine on `queue`; nil while no model is loaded.
    func withEngine<T: Sendable>(_ work: @escaping @Sendable (Engine) throws -> T) async throws -> T? {
        try await run { try self.engine.map(work) }
    }

    private func run<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result(catching: work)) }
        }
    }
}

/// A clock that never goes back.
enum Clock {
    static func seconds() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }
}
