#if canImport(ExecuTorch)
import ExecuTorch
import Foundation
import MobilemodCore

/// A `.pte` file: float32 (1, 3, H, W) in, float32 logits out.
final class ExecuTorchEngine: Engine, @unchecked Sendable {
    let runtime: String
    let partitions: Int? = nil
    private let module: Module
    private let preprocess: Preprocess
    private var input: Tensor<Float>?

    /// delegate: what the file was lowered to, for people. Throws what ExecuTorch throws for a file
    /// that it can't load.
    init(_ url: URL, threads: Int, preprocess: Preprocess, delegate: String = "XNNPACK") throws {
        if threads > 0, !mobilemod_set_threads(UInt32(threads)) {
            throw BadInput("ExecuTorch doesn't take \(threads) threads")
        }
        module = Module(filePath: url.path)
        try module.load("forward")
        self.preprocess = preprocess
        let count = threads > 0 ? "\(threads) thread\(threads == 1 ? "" : "s")" : "its own threads"
        runtime = "ExecuTorch \(AppFacts.executorchVersion), \(delegate), \(count)"
    }

    func prepare(_ pixels: PixelImage) throws {
        let size = preprocess.size
        input = Tensor<Float>(preprocess.normalize(pixels), shape: [1, 3, size.height, size.width])
    }

    func run() throws -> [Float] {
        guard let input else { throw BadInput("no input was prepared") }
        let output = try Tensor<Float>(module.forward(input))
        return output.scalars()
    }
}
#endif
