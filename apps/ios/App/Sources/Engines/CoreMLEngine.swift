import CoreML
import CoreVideo
import Foundation
import MobilemodCore

/// A compiled Core ML model: an image or a float32 (1, 3, H, W) in, logits, a map's scores or its codes out. What its edges are
/// called and which they are comes from the model's own description.
final class CoreMLEngine: Engine, @unchecked Sendable {
    let runtime: String
    let partitions: Int? = nil
    private let compiled: URL
    private let units: ComputeUnits
    private let model: MLModel
    private let preprocess: Preprocess
    private let inputName: String
    private let takesImage: Bool
    private let outputName: String
    /// Where Core ML writes its answer, so that none is made anew in each run.
    private let backing: MLMultiArray
    private let options = MLPredictionOptions()
    private let pixelBuffer: CVPixelBuffer?
    private var features: MLFeatureProvider?

    /// compiled: a `.mlmodelc`. Throws what Core ML throws, and `BadInput` for a model with other edges.
    init(compiled url: URL, units: ComputeUnits, preprocess: Preprocess, outputs: Int) throws {
        model = try MLModel(contentsOf: url, configuration: units.configuration)
        let description = model.modelDescription
        guard let input = description.inputDescriptionsByName.values
            .first(where: { $0.type == .image || $0.type == .multiArray })
        else { throw BadInput("the model takes neither an image nor an array") }
        // Probabilities and logits may both be there; logits are the array output.
        guard let output = description.outputDescriptionsByName.values.first(where: {
            $0.multiArrayConstraint.map { $0.shape.map(\.intValue).reduce(1, *) } == outputs
        }) else { throw BadInput("the model has no array output of \(outputs) values") }
        inputName = input.name
        takesImage = input.type == .image
        outputName = output.name
        guard let constraint = output.multiArrayConstraint else { throw BadInput("'\(output.name)' is no array") }
        backing = try MLMultiArray(shape: constraint.shape, dataType: constraint.dataType)
        options.outputBackings = [output.name: backing]
        if let image = input.imageConstraint {
            guard image.pixelsWide == preprocess.size.width, image.pixelsHigh == preprocess.size.height else {
                throw BadInput("the model takes \(image.pixelsWide) x \(image.pixelsHigh) pixels, "
                    + "not the manifest's \(preprocess.size)")
            }
        }
        pixelBuffer = takesImage ? try PixelBuffers.make(size: preprocess.size) : nil
        self.preprocess = preprocess
        self.units = units
        compiled = url
        runtime = "Core ML, \(units.title)"
    }

    var placed: [String: Int]? {
        get async throws { try await ComputePlan.placed(compiled: compiled, units: units) }
    }

    func prepare(_ pixels: PixelImage) throws {
        let value: MLFeatureValue
        if let pixelBuffer {
            try PixelBuffers.fill(pixelBuffer, with: pixels)
            value = MLFeatureValue(pixelBuffer: pixelBuffer)
        } else {
            let sides = [preprocess.size.height, preprocess.size.width].map { NSNumber(value: $0) }
            let array = try MLMultiArray(shape: [1, 3] + sides, dataType: .float32)
            let tensor = preprocess.normalize(pixels)
            array.withUnsafeMutableBytes { bytes, _ in
                tensor.withUnsafeBytes { bytes.copyMemory(from: $0) }
            }
            value = MLFeatureValue(multiArray: array)
        }
        features = try MLDictionaryFeatureProvider(dictionary: [inputName: value])
    }

    func run() throws -> [Float] {
        guard let features else { throw BadInput("no input was prepared") }
        let answer = try model.prediction(from: features, options: options)
        guard let array = answer.featureValue(for: outputName)?.multiArrayValue
        else { throw BadInput("the model gave no '\(outputName)'") }
        return CoreMLEngine.floats(array, packed: array === backing)
    }

    /// Values in their order, none of them boxed. packed: without gaps between rows, as an array is that was
    /// made of a shape.
    private static func floats(_ array: MLMultiArray, packed: Bool) -> [Float] {
        switch array.dataType {
        case .float32 where packed:
            return array.withUnsafeBytes { Array($0.bindMemory(to: Float.self).prefix(array.count)) }
        case .float16 where packed:
            return array.withUnsafeBytes { $0.bindMemory(to: Float16.self).prefix(array.count).map { Float($0) } }
        default:
            return MLShapedArray<Float>(converting: array).scalars
        }
    }
}

/// Which processors Core ML may use, by the protocol's names.
enum ComputeUnits: String, CaseIterable, Identifiable {
    case all
    case cpuOnly = "cpu_only"
    case cpuAndNeuralEngine = "cpu_and_ne"
    case cpuAndGPU = "cpu_and_gpu"

    var id: String { rawValue }

    /// For a model that is loaded once and answers many pictures of one size: Core ML may take longer to load
    /// it, and more memory and storage, so that it answers sooner.
    var configuration: MLModelConfiguration {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = value
        if #available(iOS 17.4, *) { configuration.optimizationHints.reshapeFrequency = .infrequent }
        if #available(iOS 18, *) { configuration.optimizationHints.specializationStrategy = .fastPrediction }
        return configuration
    }

    private var value: MLComputeUnits {
        switch self {
        case .all: return .all
        case .cpuOnly: return .cpuOnly
        case .cpuAndNeuralEngine: return .cpuAndNeuralEngine
        case .cpuAndGPU: return .cpuAndGPU
        }
    }

    var title: String {
        switch self {
        case .all: return "all processors"
        case .cpuOnly: return "CPU only"
        case .cpuAndNeuralEngine: return "CPU and Neural Engine"
        case .cpuAndGPU: return "CPU and GPU"
        }
    }
}

/// Where Core ML would run each op.
enum ComputePlan {
    /// Ops by the processor that Core ML prefers for them, of those that it may use; nil where the CPU
    /// alone was asked for, and before iOS 17.4, which doesn't tell.
    static func placed(compiled url: URL, units: ComputeUnits) async throws -> [String: Int]? {
        guard units != .cpuOnly, #available(iOS 17.4, *) else { return nil }
        let plan = try await MLComputePlan.load(contentsOf: url, configuration: units.configuration)
        guard case .program(let program) = plan.modelStructure else { return nil }
        var counts: [String: Int] = [:]
        for function in program.functions.values {
            for operation in function.block.operations {
                // Constants have no usage.
                guard let usage = plan.deviceUsage(for: operation) else { continue }
                counts[name(usage.preferred), default: 0] += 1
            }
        }
        return counts
    }

    private static func name(_ device: MLComputeDevice) -> String {
        switch device {
        case .cpu: return "CPU"
        case .gpu: return "GPU"
        case .neuralEngine: return "Neural Engine"
        @unknown default: return "another"
        }
    }
}
