/// Reads JSON (RFC 8259) from UTF-8 bytes. Nesting is limited, so that hostile input ends in an
/// error and not in a stack that overflows.
struct JSONParser {
    static let maxDepth = 64

    private let bytes: [UInt8]
    private var at = 0

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Throws `BadInput` with the position of the first byte that is wrong.
    static func parse(_ bytes: [UInt8]) throws -> JSON {
        var parser = JSONParser(bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        if parser.at < bytes.count { throw parser.wrong("text after the value") }
        return value
    }

    private func wrong(_ what: String) -> BadInput {
        BadInput("not JSON: \(what) at byte \(at)")
    }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            at += 1
        }
    }

    private mutating func take(_ byte: Character) -> Bool {
        guard next == byte.asciiValue else { return false }
        at += 1
        return true
    }

    private mutating func value(depth: Int) throws -> JSON {
        if depth > JSONParser.maxDepth { throw wrong("nesting deeper than \(JSONParser.maxDepth)") }
        skipSpace()
        guard let byte = next else { throw wrong("end") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: String, _ value: JSON) throws -> JSON {
        for byte in text.utf8 {
            guard next == byte else { throw wrong("unknown word") }
            at += 1
        }
        return value
    }

    private mutating func object(depth: Int) throws -> JSON {
        at += 1
        var members: [JSON.Member] = []
        skipSpace()
        if take("}") { return .object(members) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw wrong("no key") }
            let key = try string()
            skipSpace()
            guard take(":") else { throw wrong("no colon") }
            members.append(JSON.Member(key, try value(depth: depth + 1)))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw wrong("neither comma nor brace") }
        }
    }

    private mutating func array(depth: Int) throws -> JSON {
        at += 1
        var values: [JSON] = []
        skipSpace()
        if take("]") { return .array(values) }
        while true {
            values.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(values) }
            guard take(",") else { throw wrong("neither comma nor bracket") }
        }
    }

    private mutating func digits() throws {
        let first = at
        while let byte = next, byte >= 0x30, byte <= 0x39 { at += 1 }
        if at == first { throw wrong("no digit") }
    }

    private mutating func number() throws -> JSON {
        let first = at
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") { try digits() }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            try digits()
        }
        return .number(String(decoding: bytes[first..<at], as: UTF8.self))
    }

    private mutating func string() throws -> String {
        at += 1
        var out: [UInt8] = []
        while let byte = next {
            at += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validatingUTF8Bytes: out) else { throw wrong("no UTF-8") }
                return text
            case UInt8(ascii: "\\"):
                out += String(try escape()).utf8
            case 0..<0x20:
                throw wrong("a control character")
            default:
                out.append(byte)
            }
        }
        throw wrong("a string without end")
    }

    private mutating func escape() throws -> Unicode.Scalar {
        guard let byte = next else { throw wrong("end") }
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "b"): return "\u{08}"
        case UInt8(ascii: "f"): return "\u{0C}"
        case UInt8(ascii: "u"): return try unicodeEscape()
        default: throw wrong("an unknown escape")
        }
    }

    /// One escape, or two that form a surrogate pair; half a pair becomes U+FFFD.
    private mutating func unicodeEscape() throws -> Unicode.Scalar {
        let unit = try hexUnit()
        guard (0xD800..<0xE000).contains(unit) else { return Unicode.Scalar(unit) ?? "\u{FFFD}" }
        let mark = at
        if unit < 0xDC00, take("\\"), take("u") {
            let low = try hexUnit()
            if (0xDC00..<0xE000).contains(low) {
                return Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)) ?? "\u{FFFD}"
            }
        }
        at = mark
        return "\u{FFFD}"
    }

    private mutating func hexUnit() throws -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue,
                  byte < 0x80 else { throw wrong("no hex digit") }
            unit = unit << 4 + UInt32(digit)
            at += 1
        }
        return unit
    }
}

extension String {
    /// Nil where the bytes are no valid UTF-8.
    init?(validatingUTF8Bytes bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        // Damaged bytes are replaced by U+FFFD, which changes them.
        guard text.utf8.elementsEqual(bytes) else { return nil }
        self = text
    }
}

extension JSON {
    /// Throws `BadInput` where `text` isn't one JSON value.
    public static func parse(_ text: String) throws -> JSON {
        try JSONParser.parse(Array(text.utf8))
    }

    public static func parse(_ bytes: [UInt8]) throws -> JSON {
        try JSONParser.parse(bytes)
    }
}
