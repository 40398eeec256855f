public protocol Scalar {}
extension Float: Scalar {}
extension UInt8: Scalar {}
public protocol ValueConvertible {}
public protocol ValueSequenceConstructible { init(_ values: [Value]) throws }
public class Value: ValueConvertible { init() {} }

public final class Tensor<T: Scalar>: ValueConvertible, ValueSequenceConstructible {
    public init(_ scalars: [T], shape: [Int]) {}
    public init(_ values: [Value]) throws {}
    public func scalars() -> [T] { fatalError() }
}

public class Module {
    public init(filePath: String) {}
    public func load(_ method: String) throws {}
    public func forward(_ inputs: ValueConvertible...) throws -> [Value] { fatalError() }
    public func forward<Output: ValueSequenceConstructible>(_ input: ValueConvertible) throws -> Output { fatalError() }
}
