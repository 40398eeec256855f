@_exported import CoreVideo
import Foundation

// = MLComputeUnits.CPUOnly, MLComputeUnits.CPUAndGPU, MLComputeUnits.All, MLComputeUnits.CPUAndNeuralEngine
public enum MLComputeUnits: Int, Sendable { case cpuOnly = 0, cpuAndGPU = 1, all = 2, cpuAndNeuralEngine = 3 }
// = MLFeatureType.Image, MLFeatureType.MultiArray
public enum MLFeatureType: Int { case image = 4, multiArray = 5 }
// = MLMultiArrayDataType.Float32, MLMultiArrayDataType.Float16
public enum MLMultiArrayDataType: Int { case float32 = 65568, float16 = 65552 }

// = MLModelConfiguration
public class MLModelConfiguration: NSObject {
    // = MLModelConfiguration.new
    public override init() {}
    // = MLModelConfiguration.computeUnits
    public var computeUnits: MLComputeUnits { get { fatalError() } set {} }
    // = MLModelConfiguration.optimizationHints @17.4
    public var optimizationHints: MLOptimizationHints { get { fatalError() } set {} }
}

// A struct in Swift.
// = MLOptimizationHints @17.4
public struct MLOptimizationHints {
    // = MLReshapeFrequencyHint.Frequent, MLReshapeFrequencyHint.Infrequent @17.4
    public enum ReshapeFrequency: Int { case frequent = 0, infrequent = 1 }
    // = MLSpecializationStrategy.Default, MLSpecializationStrategy.FastPrediction @18.0
    public enum SpecializationStrategy: Int { case `default` = 0, fastPrediction = 1 }
    // = MLOptimizationHints.reshapeFrequency @17.4
    public var reshapeFrequency: ReshapeFrequency
    // = MLOptimizationHints.specializationStrategy @18.0
    public var specializationStrategy: SpecializationStrategy
}

// = MLImageConstraint
public class MLImageConstraint: NSObject {
    // = MLImageConstraint.pixelsWide
    public var pixelsWide: Int { fatalError() }
    // = MLImageConstraint.pixelsHigh
    public var pixelsHigh: Int { fatalError() }
}

// = MLMultiArrayConstraint
public class MLMultiArrayConstraint: NSObject {
    // = MLMultiArrayConstraint.shape
    public var shape: [NSNumber] { fatalError() }
    // = MLMultiArrayConstraint.dataType
    public var dataType: MLMultiArrayDataType { fatalError() }
}

// = MLFeatureDescription
public class MLFeatureDescription: NSObject {
    // = MLFeatureDescription.name
    public var name: String { fatalError() }
    // = MLFeatureDescription.type
    public var type: MLFeatureType { fatalError() }
    // = MLFeatureDescription.imageConstraint
    public var imageConstraint: MLImageConstraint? { fatalError() }
    // = MLFeatureDescription.multiArrayConstraint
    public var multiArrayConstraint: MLMultiArrayConstraint? { fatalError() }
}

// = MLModelDescription
public class MLModelDescription: NSObject {
    // = MLModelDescription.inputDescriptionsByName
    public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    // = MLModelDescription.outputDescriptionsByName
    public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
}

// swift
public struct MLShapedArray<Scalar> {
    // swift
    public init(converting array: MLMultiArray) {}
    // swift
    public var scalars: [Scalar] { fatalError() }
}

// = MLMultiArray
public class MLMultiArray: NSObject {
    // = MLMultiArray.initWithShapeDataTypeError
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
    // = MLMultiArray.dataType
    public var dataType: MLMultiArrayDataType { fatalError() }
    // = MLMultiArray.count
    public var count: Int { fatalError() }
}

// Swift's overlay.
extension MLMultiArray {
    // = MLMultiArray.getBytesWithHandler
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }
    // = MLMultiArray.getMutableBytesWithHandler
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R { fatalError() }
}

// = MLFeatureValue
public class MLFeatureValue: NSObject {
    // = MLFeatureValue.featureValueWithPixelBuffer
    public convenience init(pixelBuffer: CVPixelBuffer) { fatalError() }
    // = MLFeatureValue.featureValueWithMultiArray
    public convenience init(multiArray: MLMultiArray) { fatalError() }
    // = MLFeatureValue.multiArrayValue
    public var multiArrayValue: MLMultiArray? { fatalError() }
}

// = MLFeatureProvider.featureValueForName
public protocol MLFeatureProvider {
    func featureValue(for featureName: String) -> MLFeatureValue?
}

// = MLDictionaryFeatureProvider
public class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    // = MLDictionaryFeatureProvider.initWithDictionaryError
    public init(dictionary: [String: Any]) throws {}
    // = MLDictionaryFeatureProvider.featureValueForName
    public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

// = MLModel
public class MLModel: NSObject {
    // = MLModel.modelWithContentsOfURLConfigurationError
    public convenience init(contentsOf url: URL, configuration: MLModelConfiguration) throws { fatalError() }
    // = MLModel.compileModelAtURLCompletionHandler
    public class func compileModel(at url: URL) async throws -> URL { fatalError() }
    // = MLModel.modelDescription
    public var modelDescription: MLModelDescription { fatalError() }
    // = MLModel.predictionFromFeaturesOptionsError
    public func prediction(from input: MLFeatureProvider, options: MLPredictionOptions) throws -> MLFeatureProvider {
        fatalError()
    }
}

// = MLPredictionOptions
public class MLPredictionOptions: NSObject {
    // = MLPredictionOptions.new
    public override init() {}
    // = MLPredictionOptions.outputBackings
    public var outputBackings: [String: Any] { get { fatalError() } set {} }
}

// Swift's own types for the compute plan, iOS 17.4.
// = MLComputePlan @17.4
public class MLComputePlan {
    // = MLComputePlan.loadContentsOfURLConfigurationCompletionHandler @17.4
    public static func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLComputePlan {
        fatalError()
    }
    // = MLComputePlan.modelStructure @17.4
    public var modelStructure: MLModelStructure { fatalError() }
    // = MLComputePlan.computeDeviceUsageForMLProgramOperation @17.4
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
    // = MLComputePlanDeviceUsage @17.4
    public struct DeviceUsage {
        // = MLComputePlanDeviceUsage.preferredComputeDevice @17.4
        public let preferred: MLComputeDevice
    }
}

// swift
public enum MLComputeDevice {
    case cpu(MLCPUComputeDevice), gpu(MLGPUComputeDevice), neuralEngine(MLNeuralEngineComputeDevice)
}
// = MLCPUComputeDevice
public class MLCPUComputeDevice: NSObject {}
// = MLGPUComputeDevice
public class MLGPUComputeDevice: NSObject {}
// = MLNeuralEngineComputeDevice
public class MLNeuralEngineComputeDevice: NSObject {}

// = MLModelStructure @17.4
public enum MLModelStructure {
    case program(Program), unsupported
    // = MLModelStructureProgram @17.4
    public struct Program {
        // = MLModelStructureProgram.functions @17.4
        public let functions: [String: Function]
        // = MLModelStructureProgramFunction.block @17.4
        public struct Function { public let block: Block }
        // = MLModelStructureProgramBlock.operations @17.4
        public struct Block { public let operations: [Operation] }
        // = MLModelStructureProgramOperation.operatorName @17.4
        public struct Operation { public let operatorName: String }
    }
}
