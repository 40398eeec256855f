import Foundation
import XCTest
@testable import MobilemodCore

/// The vectors that every language's core runs, in the repository's tests/vectors.
enum Vectors {
    static func read(_ name: String) throws -> JSON {
        let folder: URL
        if let given = ProcessInfo.processInfo.environment["MOBILEMOD_VECTORS"] {
            folder = URL(fileURLWithPath: given)
        } else {
            folder = (0..<6).reduce(URL(fileURLWithPath: #filePath)) { url, _ in url.deletingLastPathComponent() }
                .appendingPathComponent("tests/vectors")
        }
        return try JSON.parse([UInt8](Data(contentsOf: folder.appendingPathComponent(name))))
    }

    /// Throws where a key is missing, so that no test passes by skipping.
    static func list(_ value: JSON, _ key: String) throws -> [JSON] {
        try XCTUnwrap(value[key]?.array, key)
    }

    static func doubles(_ value: JSON, _ key: String) throws -> [Double] {
        try list(value, key).map { try XCTUnwrap($0.double) }
    }

    /// Of the file's own decoder, by JSONDecoder.
    static func decode<T: Decodable>(_ type: T.Type, _ value: JSON) throws -> T {
        try JSONDecoder().decode(type, from: Data(value.text.utf8))
    }
}

/// The images of preprocess.json, drawn by formula.
enum Drawing {
    static func image(_ pattern: String, width: Int, height: Int, channels: Int) throws -> PixelImage {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(width * height * channels)
        for y in 0..<height {
            for x in 0..<width {
                for c in 0..<channels { bytes.append(value(pattern, UInt32(x), UInt32(y), UInt32(c))) }
            }
        }
        return try PixelImage(width: width, height: height, channels: channels, bytes: bytes)
    }

    private static func value(_ pattern: String, _ x: UInt32, _ y: UInt32, _ c: UInt32) -> UInt8 {
        switch pattern {
        case "ramp":
            return UInt8(truncatingIfNeeded: 3 &* x &+ 5 &* y &+ 40 &* c &+ (x &* y) >> 4)
        case "checks":
            return ((x >> 3) + (y >> 3) + c) % 2 == 1 ? 255 : 0
        default:
            var h = (x &* 73_856_093) ^ (y &* 19_349_663) ^ (c &* 83_492_791)
            h = (h ^ (h >> 13)) &* 0x5bd1_e995
            return UInt8(truncatingIfNeeded: h ^ (h >> 15))
        }
    }
}
