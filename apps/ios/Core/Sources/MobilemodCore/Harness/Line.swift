import Foundation

/// Lines of the stream: one JSON object each, its last member a check of the bytes before.
public enum Line {
    public static let maxBytes = 1 << 20
    private static let mark = Array(",\"crc\":\"".utf8)
    private static let tail = Array("\"}".utf8)

    /// Without the line feed. members: at least one, none of them "crc".
    public static func encode(_ members: [JSON.Member]) -> String {
        let body = String(JSON.object(members).text.dropLast())
        return "\(body),\"crc\":\"\(CRC32.hex(body.utf8))\"}"
    }

    /// The object without "crc"; nil for a line that is damaged or no line of ours.
    public static func decode(_ bytes: [UInt8]) -> JSON? {
        let ending = mark.count + 8 + tail.count
        guard bytes.count > ending, bytes.count <= maxBytes, bytes.suffix(2) == tail[...] else { return nil }
        let bodyEnd = bytes.count - ending
        let body = bytes[..<bodyEnd]
        let digits = bytes[(bodyEnd + mark.count)..<(bytes.count - tail.count)]
        guard bytes[bodyEnd..<(bodyEnd + mark.count)] == mark[...],
              digits.elementsEqual(CRC32.hex(body).utf8),
              let value = try? JSON.parse(Array(body) + [UInt8(ascii: "}")]), value.members != nil
        else { return nil }
        return value
    }

    public static func decode(_ text: String) -> JSON? { decode(Array(text.utf8)) }
}
