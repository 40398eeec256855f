#if canImport(ExecuTorch)
import ExecuTorch
import Foundation
import MobilemodCore

/// A `.pte` file: float32 (1, 3, H, W) in, float32 logits, or a map's codes in uint8, out.
final class ExecuTorchEngine: Engine, @unchecked Sendable {
    let runtime: String
    let partitions: Int? = nil
    private let module: Module
    private let preprocess: Preprocess
    private let givesClasses: Bool
    private var input: Tensor<Float>?

    /// delegate: what the file was lowered to, for people. Throws what ExecuTorch throws for a file
    /// that it can't load.
    init(_ url: URL, threads: Int, manifest: Manifest, delegate: String = "XNNPACK") throws {
        if threads > 0, !mobilemod_set_threads(UInt32(threads)) {
            throw BadInput("ExecuTorch doesn't take \(threads) threads")
        }
        module = Module(filePath: url.path)
        try module.load("forward")
        preprocess = manifest.preprocess
        givesClasses = manifest.answer == .classes
        let count = threads > 0 ? "\(threads) thread\(threads == 1 ? "" : "s")" : "its own threads"
        runtime = "ExecuTorch \(AppFacts.executorchVersion), \(delegate), \(count)"
    }

    func prepare(_ pixels: PixelImage) throws {
        let size = preprocess.size
        input = Tensor<Float>(preprocess.normalize(pixels), shape: [1, 3, size.height, size.width])
    }

    func run() throws -> [Float] {
        guard let input else { throw BadInput("no input was prepared") }
        if givesClasses { return try Tensor<UInt8>(module.forward(input)).scalars().map(Float.init) }
        let output = try Tensor<Float>(module.forward(input))
        return output.scalars()
    }
}
#endif
