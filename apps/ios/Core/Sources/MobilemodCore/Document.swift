import Foundation

/// Reading JSON documents that come from outside.
enum Document {
    /// Throws `BadInput` that names the file and the key that is missing or of the wrong type.
    static func decode<T: Decodable>(_ type: T.Type, _ document: JSON, _ name: String) throws -> T {
        do {
            // From the text written anew: Foundation's decoder crashes on some damaged texts (a
            // control character in a key) where it should throw.
            return try JSONDecoder().decode(type, from: Data(document.text.utf8))
        } catch let error as BadInput {
            throw BadInput("\(name): \(error.message)")
        } catch {
            throw BadInput("\(name) is damaged: \(describe(error))")
        }
    }

    private static func describe(_ error: Error) -> String {
        func path(_ context: DecodingError.Context) -> String {
            context.codingPath.map(\.stringValue).joined(separator: ".")
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context):
            return "'\((context.codingPath + [key]).map(\.stringValue).joined(separator: "."))' is missing"
        case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
            return "'\(path(context))' has the wrong type"
        default:
            return "a value doesn't fit"
        }
    }
}

extension JSON {
    /// A whole file. Throws `BadInput` that names it.
    static func document(_ data: Data, _ name: String) throws -> JSON {
        do {
            return try parse([UInt8](data))
        } catch let error as BadInput {
            throw BadInput("\(name) is damaged: \(error.message)")
        }
    }
}
