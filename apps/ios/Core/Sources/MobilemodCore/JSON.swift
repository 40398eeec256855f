/// A JSON value whose objects keep their order and whose numbers keep their text, so that a line
/// or a job can be written again byte for byte: Foundation's readers lose both.
public indirect enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    /// The number's text, by JSON's grammar.
    case number(String)
    case string(String)
    case array([JSON])
    case object([Member])

    /// One key of an object.
    public struct Member: Equatable, Sendable {
        public let key: String
        public let value: JSON

        public init(_ key: String, _ value: JSON) {
            self.key = key
            self.value = value
        }
    }

    /// The shortest text that reads back as the same double; what isn't finite is null.
    public static func real(_ value: Double) -> JSON {
        value.isFinite ? .number(value.description) : .null
    }

    /// The float32's exact value: readers take numbers for doubles.
    public static func real(_ value: Float) -> JSON { .real(Double(value)) }

    public static func integer(_ value: Int) -> JSON { .number(String(value)) }

    public static func text(_ value: String?) -> JSON { value.map { .string($0) } ?? .null }

    public static func integer(_ value: Int?) -> JSON { value.map { .number(String($0)) } ?? .null }

    public static func real(_ value: Double?) -> JSON { value.map { .real($0) } ?? .null }

    /// The value of a key; of a repeated key the last.
    public subscript(key: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.key == key }?.value
    }

    public var string: String? {
        if case .string(let value) = self { return value }
        return nil
    }

    public var array: [JSON]? {
        if case .array(let values) = self { return values }
        return nil
    }

    public var members: [Member]? {
        if case .object(let members) = self { return members }
        return nil
    }

    /// A number without fraction that fits in `Int`.
    public var int: Int? {
        if case .number(let text) = self { return Int(text) }
        return nil
    }

    public var double: Double? {
        if case .number(let text) = self { return Double(text) }
        return nil
    }

    public var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    /// Without spaces, other than ASCII not escaped.
    public var text: String {
        var out = ""
        write(into: &out)
        return out
    }

    /// The same value with every object's keys in the order of their code points.
    public var sorted: JSON {
        switch self {
        case .array(let values):
            return .array(values.map(\.sorted))
        case .object(let members):
            let ordered = members.sorted {
                $0.key.unicodeScalars.lexicographicallyPrecedes($1.key.unicodeScalars)
            }
            return .object(ordered.map { Member($0.key, $0.value.sorted) })
        default:
            return self
        }
    }

    private func write(into out: inout String) {
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .number(let text): out += text
        case .string(let value): JSON.writeString(value, into: &out)
        case .array(let values):
            out += "["
            for (index, value) in values.enumerated() {
                if index > 0 { out += "," }
                value.write(into: &out)
            }
            out += "]"
        case .object(let members):
            out += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { out += "," }
                JSON.writeString(member.key, into: &out)
                out += ":"
                member.value.write(into: &out)
            }
            out += "}"
        }
    }

    private static func writeString(_ value: String, into out: inout String) {
        out += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\u{08}": out += "\\b"
            case "\u{0C}": out += "\\f"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
