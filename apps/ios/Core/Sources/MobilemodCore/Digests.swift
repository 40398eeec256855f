import Foundation

/// CRC-32 (IEEE 802.3, as zlib's).
public enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { c, _ in c & 1 == 1 ? 0xEDB8_8320 ^ (c >> 1) : c >> 1 }
    }

    public static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { table[Int(($0 ^ UInt32($1)) & 0xFF)] ^ ($0 >> 8) }
    }

    /// Eight lower-case hex digits.
    public static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits = String(checksum(bytes), radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// SHA-256 (FIPS 180-4), fed piece by piece. In plain Swift, so that the one that is tested on
/// other systems is the one that runs on the phone.
public struct SHA256 {
    private static let k: [UInt32] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ]

    private var state: [UInt32] = [
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    ]
    private var pending: [UInt8] = []
    private var length: UInt64 = 0

    public init() {}

    public mutating func update(_ bytes: some Collection<UInt8>) {
        length += UInt64(bytes.count)
        pending += bytes
        let whole = pending.count / 64 * 64
        if whole > 0 {
            compress(pending, count: whole)
            pending.removeFirst(whole)
        }
    }

    /// 64 lower-case hex digits; nothing may be added afterwards.
    public mutating func hexDigest() -> String {
        let bits = length * 8
        pending.append(0x80)
        while pending.count % 64 != 56 { pending.append(0) }
        for shift in stride(from: 56, through: 0, by: -8) {
            pending.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
        compress(pending, count: pending.count)
        return state.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }

    private mutating func compress(_ bytes: [UInt8], count: Int) {
        var w = [UInt32](repeating: 0, count: 64)
        var s = state
        bytes.withUnsafeBufferPointer { input in
            w.withUnsafeMutableBufferPointer { w in
                SHA256.k.withUnsafeBufferPointer { k in
                    s.withUnsafeMutableBufferPointer { s in
                        for start in stride(from: 0, to: count, by: 64) {
                            SHA256.block(input, start, w, k, s)
                        }
                    }
                }
            }
        }
        state = s
    }

    private static func block(
        _ input: UnsafeBufferPointer<UInt8>, _ start: Int, _ w: UnsafeMutableBufferPointer<UInt32>,
        _ k: UnsafeBufferPointer<UInt32>, _ s: UnsafeMutableBufferPointer<UInt32>
    ) {
        for i in 0..<16 {
            let at = start + 4 * i
            w[i] = UInt32(input[at]) << 24 | UInt32(input[at + 1]) << 16
                | UInt32(input[at + 2]) << 8 | UInt32(input[at + 3])
        }
        for i in 16..<64 {
            let s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3)
            let s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10)
            w[i] = w[i - 16] &+ s0 &+ w[i - 7] &+ s1
        }
        var (a, b, c, d) = (s[0], s[1], s[2], s[3])
        var (e, f, g, h) = (s[4], s[5], s[6], s[7])
        for i in 0..<64 {
            let s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
            let t1 = h &+ s1 &+ ((e & f) ^ (~e & g)) &+ k[i] &+ w[i]
            let s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
            let t2 = s0 &+ ((a & b) ^ (a & c) ^ (b & c))
            (h, g, f, e, d, c, b, a) = (g, f, e, d &+ t1, c, b, a, t1 &+ t2)
        }
        s[0] &+= a; s[1] &+= b; s[2] &+= c; s[3] &+= d
        s[4] &+= e; s[5] &+= f; s[6] &+= g; s[7] &+= h
    }

    private static func rotate(_ x: UInt32, _ n: UInt32) -> UInt32 { x >> n | x << (32 - n) }
}

/// Hashes as the manifest and jobs hold them, 64 lower-case hex digits.
public enum Hash {
    public static func of(_ bytes: some Collection<UInt8>) -> String {
        var hash = SHA256()
        hash.update(bytes)
        return hash.hexDigest()
    }

    /// Of a file's bytes; of a folder's files by "path NUL hash LF", in the order of their paths.
    /// Throws what reading throws.
    public static func of(fileAt url: URL) throws -> String {
        if isFolder(url) { return try ofFolder(url) }
        let handle = try FileHandle(forReadingFrom: url)
        defer { try? handle.close() }
        var hash = SHA256()
        while let block = try handle.read(upToCount: 1 << 20), !block.isEmpty {
            hash.update([UInt8](block))
        }
        return hash.hexDigest()
    }

    private static func isFolder(_ url: URL) -> Bool {
        var answer: ObjCBool = false
        return FileManager.default.fileExists(atPath: url.path, isDirectory: &answer) && answer.boolValue
    }

    private static func ofFolder(_ url: URL) throws -> String {
        var hash = SHA256()
        let paths = try FileManager.default.subpathsOfDirectory(atPath: url.path)
            .map { $0.split(separator: "/").map { Array($0.utf8) } }
            .sorted { $0.lexicographicallyPrecedes($1) { $0.lexicographicallyPrecedes($1) } }
        for parts in paths {
            let path = parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
            let file = url.appendingPathComponent(path)
            if !isFolder(file) { hash.update(Array("\(path)\0\(try of(fileAt: file))\n".utf8)) }
        }
        return hash.hexDigest()
    }
}
