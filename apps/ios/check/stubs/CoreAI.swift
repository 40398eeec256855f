import Foundation

// From developer.apple.com/documentation/coreai (iOS 27) and Apple's own use of it in
// github.com/apple/coreai-models. What isn't copyable or can't escape there is plain here.
public struct SpecializationOptions: Sendable {
    public static var `default`: SpecializationOptions { fatalError() }
    public static var cpuOnly: SpecializationOptions { fatalError() }
    public init(preferredComputeUnitKind: ComputeUnitKind) {}
}
public enum ComputeUnitKind: Sendable { case cpu, gpu, neuralEngine }

public struct AIModel: Sendable {
    public init(contentsOf modelURL: URL, options: SpecializationOptions = .default) async throws {}
    public var functionNames: [String] { fatalError() }
    public func loadFunction(named functionName: String) throws -> InferenceFunction? { fatalError() }
}

public struct InferenceFunctionDescriptor: Sendable {
    public var inputNames: [String] { fatalError() }
    public var outputNames: [String] { fatalError() }
    public func inputDescriptor(of name: String) -> InferenceValue.Descriptor? { fatalError() }
    public func outputDescriptor(of name: String) -> InferenceValue.Descriptor? { fatalError() }
}

public struct InferenceFunction: Sendable {
    public let descriptor: InferenceFunctionDescriptor
    public struct MutableViews { public init() {} }
    public struct Outputs {
        public mutating func remove(_ outputName: String) -> InferenceValue? { fatalError() }
    }
    public func run(
        inputs: [String: NDArray], states: consuming MutableViews = MutableViews(),
        outputViews: consuming MutableViews = MutableViews()
    ) async throws -> Outputs { fatalError() }
}

public struct InferenceValue {
    public enum Descriptor: Sendable { case ndArray(NDArrayDescriptor), image(ImageDescriptor) }
    public var ndArray: NDArray? { fatalError() }
}
public struct ImageDescriptor: Sendable {}
public struct NDArrayDescriptor: Sendable {
    public var shape: [Int] { fatalError() }
    public var scalarType: NDArray.ScalarType { fatalError() }
}

public struct NDArray: Sendable {
    public enum ScalarType: Sendable { case float16, float32, int32, uint8 }
    public init(shape: [Int], scalarType: ScalarType) {}
    public var shape: [Int] { fatalError() }
    public var scalarType: ScalarType { fatalError() }
    public func view<T: BitwiseCopyable>(as type: T.Type) -> View<T> { fatalError() }
    public mutating func mutableView<T: BitwiseCopyable>(as type: T.Type) -> MutableView<T> { fatalError() }

    public struct View<Element: BitwiseCopyable> {
        public func withUnsafePointer<R, E: Error>(
            _ body: (UnsafePointer<Element>, Span<Int>, Span<Int>) throws(E) -> R
        ) throws(E) -> R { fatalError() }
    }
    public struct MutableView<Element: BitwiseCopyable> {
        public mutating func copyElements(fromContentsOf collection: some Collection<Element>) {}
    }
}
// Swift's own from 6.2 on.
public struct Span<Element> {}
