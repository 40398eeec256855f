#if canImport(CoreAI)
import CoreAI
import Foundation
import MobilemodCore

/// A Core AI model (`.aimodel`): float32 (1, 3, H, W) in, float32 logits or a map's scores out. Core AI
/// specializes it for the device at its first load and keeps that.
@available(iOS 27, *)
final class CoreAIEngine: Engine, @unchecked Sendable {
    let runtime: String
    let partitions: Int? = nil
    private let function: InferenceFunction
    private let preprocess: Preprocess
    private let inputName: String
    private let outputName: String
    private let outputs: Int
    private var input: NDArray?

    /// units: what Core AI shall prefer; it may fall back to others, but for the CPU alone. Throws what Core AI
    /// throws, and `BadInput` for a model with other edges.
    init(_ url: URL, units: ComputeUnits, preprocess: Preprocess, outputs: Int) async throws {
        let model = try await AIModel(contentsOf: url, options: units.specialization)
        guard let function = try model.loadFunction(named: "main") else {
            throw BadInput("the model has no function 'main'; it has \(model.functionNames)")
        }
        let descriptor = function.descriptor
        let shape = [1, 3, preprocess.size.height, preprocess.size.width]
        guard let input = descriptor.inputNames.first(where: {
            CoreAIEngine.floats(descriptor.inputDescriptor(of: $0)) == shape
        }) else { throw BadInput("the model takes no float32 array \(shape)") }
        guard let output = descriptor.outputNames.first(where: {
            CoreAIEngine.floats(descriptor.outputDescriptor(of: $0))?.reduce(1, *) == outputs
        }) else { throw BadInput("the model has no float32 output of \(outputs) values") }
        self.function = function
        self.preprocess = preprocess
        self.outputs = outputs
        inputName = input
        outputName = output
        runtime = "Core AI, \(units == .all || units == .cpuOnly ? "" : "prefers ")\(units.title)"
    }

    func prepare(_ pixels: PixelImage) throws {
        var array = NDArray(shape: [1, 3, preprocess.size.height, preprocess.size.width], scalarType: .float32)
        var view = array.mutableView(as: Float.self)
        view.copyElements(fromContentsOf: preprocess.normalize(pixels))
        input = array
    }

    func run() throws -> [Float] {
        guard let input else { throw BadInput("no input was prepared") }
        let function = function, inputName = inputName, outputName = outputName, count = outputs
        return try Blocking.wait {
            var outputs = try await function.run(inputs: [inputName: input])
            guard let array = outputs.remove(outputName)?.ndArray else {
                throw BadInput("the model gave no '\(outputName)'")
            }
            // Row-major without gaps, as Core AI promises of what it returns.
            return array.view(as: Float.self).withUnsafePointer { pointer, _, _ in
                Array(UnsafeBufferPointer(start: pointer, count: count))
            }
        }
    }

    /// A float32 array's shape; nil for anything else.
    private static func floats(_ value: InferenceValue.Descriptor?) -> [Int]? {
        guard case .ndArray(let array)? = value, array.scalarType == .float32 else { return nil }
        return array.shape
    }
}

@available(iOS 27, *)
extension ComputeUnits {
    fileprivate var specialization: SpecializationOptions {
        switch self {
        case .all: return .default
        case .cpuOnly: return .cpuOnly
        case .cpuAndNeuralEngine: return SpecializationOptions(preferredComputeUnitKind: .neuralEngine)
        case .cpuAndGPU: return SpecializationOptions(preferredComputeUnitKind: .gpu)
        }
    }
}

/// Waiting for an asynchronous call where a synchronous one is asked for.
private enum Blocking {
    private final class Box<T>: @unchecked Sendable { var result: Result<T, Error>? }

    /// The call runs on Swift's own threads, so that this one may be blocked; of those one at least must be
    /// free, as engines are used by one thread at a time.
    static func wait<T: Sendable>(_ call: @escaping @Sendable () async throws -> T) throws -> T {
        let box = Box<T>(), done = DispatchSemaphore(value: 0)
        Task.detached(priority: .userInitiated) {
            do {
                box.result = .success(try await call())
            } catch {
                box.result = .failure(error)
            }
            done.signal()
        }
        done.wait()
        guard let result = box.result else { throw BadInput("Core AI gave no answer") }
        return try result.get()
    }
}
#endif
