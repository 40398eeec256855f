import Foundation

/// What came from outside is wrong: one line that names what, where, and what to do.
public struct BadInput: LocalizedError, Equatable, CustomStringConvertible {
    public let message: String

    public init(_ message: String) {
        self.message = message
    }

    public var description: String { message }
    public var errorDescription: String? { message }
}
