import Foundation

/// Which names from outside a device takes.
public enum JobPath {
    /// Relative, up to 16 '/'-separated parts of `[A-Za-z0-9._-]`, none of them '.' or '..'.
    public static func isSafe(_ path: String) -> Bool {
        let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return parts.count <= 16 && parts.allSatisfy { part in
            (1...255).contains(part.count) && part.allSatisfy(isPathByte)
                && !part.elementsEqual(".".utf8) && !part.elementsEqual("..".utf8)
        }
    }

    /// 64 lower-case hex digits.
    public static func isJobID(_ id: String) -> Bool {
        id.utf8.count == 64 && id.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x66).contains($0)
        }
    }

    private static func isPathByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
             UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            return true
        default:
            return false
        }
    }
}
