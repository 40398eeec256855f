import Foundation
import MobilemodCore

/// A class with its share of all, 0…1: its probability, or its part of a map's pixels.
struct ClassShare: Sendable {
    let classIndex: Int
    let share: Double
}

/// What a model says of an image, and how long it took: the best classes, or all of a map.
struct Answer: Sendable {
    let shares: [ClassShare]
    let segmented: Segmented?
    /// Counts models, as `Classifier.use` does.
    let generation: Int
    let preprocessMs: Double
    let inferenceMs: Double
    /// Where a second file runs on the same pictures.
    var compared: Compared?

    var verdict: Verdict { segmented.map { .map($0.map) } ?? .best(shares.first?.classIndex) }
}

/// What the second file says of the same picture, and how alike both were so far.
struct Compared: Sendable {
    let shares: [ClassShare]
    let inferenceMs: Double
    let agreement: Agreement
}

/// A file of a target, loaded.
struct LoadedFile: Sendable {
    let engine: Engine
    let target: String
}

/// Owns the loaded model. Everything that touches it runs on `queue`, where engines belong to one
/// thread at a time: camera frames are delivered there, other callers await.
final class Classifier: @unchecked Sendable {
    let queue = DispatchQueue(label: "io.mobilemod.classifier", qos: .userInitiated)
    private var first: LoadedFile?
    private var second: LoadedFile?
    private var manifest: Manifest?
    private var generation = 0
    private var agreement = Agreement()

    /// Replaces the model; nil unloads it, so that a large one is gone before the next comes. second: runs
    /// on the same pictures, in turns. The number that answers of it will have.
    @discardableResult
    func use(_ first: LoadedFile?, second: LoadedFile? = nil, _ manifest: Manifest? = nil) async -> Int {
        await withCheckedContinuation { (continuation: CheckedContinuation<Int, Never>) in
            queue.async {
                self.first = first
                self.second = second
                self.manifest = manifest
                self.agreement = Agreement()
                self.generation += 1
                continuation.resume(returning: self.generation)
            }
        }
    }

    /// A photo's map has smooth borders. Throws what the engine throws; nil while no model is loaded.
    func classify(_ image: PixelImage) async throws -> Answer? {
        try await run { try self.classifyOnQueue(image, smooth: true) }
    }

    /// As `classify`; to be called on `queue`. smooth: at the size of the network's input.
    func classifyOnQueue(_ image: PixelImage, smooth: Bool) throws -> Answer? {
        guard let first, let manifest else { return nil }
        let began = Clock.seconds()
        let pixels = manifest.preprocess.pixels(image)
        let resizeMs = 1e3 * (Clock.seconds() - began)
        func answer(_ file: LoadedFile) throws -> Answer {
            try self.answer(file, manifest, pixels, resizeMs, of: image, smooth: smooth)
        }
        guard let second else { return try answer(first) }
        var (own, other) = try agreement.both({ try answer(first) }, { try answer(second) }, verdict: { $0.verdict })
        own.compared = Compared(shares: other.shares, inferenceMs: other.inferenceMs, agreement: agreement)
        return own
    }

    /// resizeMs: what the pixels took, which both files take.
    private func answer(
        _ file: LoadedFile, _ manifest: Manifest, _ pixels: PixelImage, _ resizeMs: Double, of image: PixelImage,
        smooth: Bool
    ) throws -> Answer {
        let preprocess = manifest.preprocess
        let began = Clock.seconds()
        try file.engine.prepare(pixels)
        let prepared = Clock.seconds()
        let output = try file.engine.run()
        let ended = Clock.seconds()
        let segmented = try manifest.mapOutput(output, file.target).map { told in
            let size = MapSize(height: preprocess.size.height, width: preprocess.size.width)
            return Segmented(smooth ? told.smoothMap(size) : told.map(), of: image, preprocess)
        }
        let shares = segmented?.map.shares().map { ClassShare(classIndex: $0.code, share: $0.share) }
        return Answer(
            shares: shares ?? Classifier.best(output), segmented: segmented, generation: generation,
            preprocessMs: resizeMs + 1e3 * (prepared - began), inferenceMs: 1e3 * (ended - prepared)
        )
    }

    /// The five best classes with their probabilities.
    static func best(_ logits: [Float]) -> [ClassShare] {
        let all = Logits.softmax(logits)
        return Logits.top(logits, 5).map { ClassShare(classIndex: $0.classIndex, share: all[$0.classIndex]) }
    }

    /// Work with the engine on `queue`; nil while no model is loaded.
    func withEngine<T: Sendable>(_ work: @escaping @Sendable (Engine) throws -> T) async throws -> T? {
        try await run { try (self.first?.engine).map(work) }
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
