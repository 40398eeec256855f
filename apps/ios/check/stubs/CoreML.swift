@_exported import CoreVideo
import Foundation

public enum MLComputeUnits: Int, Sendable { case cpuOnly = 0, cpuAndGPU = 1, all = 2, cpuAndNeuralEngine = 3 }
public enum MLFeatureType: Int { case image = 4, multiArray = 5 }
public enum MLMultiArrayDataType: Int { case float32 = 65568 }

public class MLModelConfiguration: NSObject {
    public override init() {}
    public var computeUnits: MLComputeUnits { get { fatalError() } set {} }
}

public class MLImageConstraint: NSObject {
    public var pixelsWide: Int { fatalError() }
    public var pixelsHigh: Int { fatalError() }
}

public class MLMultiArrayConstraint: NSObject {
    public var shape: [NSNumber] { fatalError() }
}

public class MLFeatureDescription: NSObject {
    public var name: String { fatalError() }
    public var type: MLFeatureType { fatalError() }
    public var imageConstraint: MLImageConstraint? { fatalError() }
    public var multiArrayConstraint: MLMultiArrayConstraint? { fatalError() }
}

public class MLModelDescription: NSObject {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
    public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError() }
}

public class MLMultiArray: NSObject {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
    public var count: Int { fatalError() }
    public subscript(index: Int) -> NSNumber { fatalError() }
}

// Swift's overlay.
extension MLMultiArray {
    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R { fatalError() }
}

public class MLFeatureValue: NSObject {
    public convenience init(pixelBuffer: CVPixelBuffer) { fatalError() }
    public convenience init(multiArray: MLMultiArray) { fatalError() }
    public var multiArrayValue: MLMultiArray? { fatalError() }
}

public protocol MLFeatureProvider {
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}
    public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError() }
}

public class MLModel: NSObject {
    public convenience init(contentsOf url: URL, configuration: MLModelConfiguration) throws { fatalError() }
    public class func compileModel(at url: URL) async throws -> URL { fatalError() }
    public var modelDescription: MLModelDescription { fatalError() }
    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider { fatalError() }
}

// Swift's own types for the compute plan, iOS 17.4.
public class MLComputePlan {
    public static func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLComputePlan {
        fatalError()
    }
    public var modelStructure: MLModelStructure { fatalError() }
    public func deviceUsage(for operation: MLModelStructure.Program.Operation) -> DeviceUsage? { nil }
    public struct DeviceUsage {
        public let preferred: MLComputeDevice
    }
}

public enum MLComputeDevice {
    case cpu(MLCPUComputeDevice), gpu(MLGPUComputeDevice), neuralEngine(MLNeuralEngineComputeDevice)
}
public class MLCPUComputeDevice: NSObject {}
public class MLGPUComputeDevice: NSObject {}
public class MLNeuralEngineComputeDevice: NSObject {}

public enum MLModelStructure {
    case program(Program), unsupported
    public struct Program {
        public let functions: [String: Function]
        public struct Function { public let block: Block }
        public struct Block { public let operations: [Operation] }
        public struct Operation { public let operatorName: String }
    }
}
