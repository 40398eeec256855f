import XCTest
@testable import MobilemodCore

final class CoreTests: XCTestCase {
    func testSHA256() {
        // FIPS 180-4's examples, and lengths around a block's end.
        XCTAssertEqual(Hash.of([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        XCTAssertEqual(Hash.of(Array("abc".utf8)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        XCTAssertEqual(Hash.of(million), expected)
        for piece in [1, 55, 56, 63, 64, 65, 1000] {
            var hash = SHA256()
            for start in stride(from: 0, to: million.count, by: piece) {
                hash.update(million[start..<min(start + piece, million.count)])
            }
            XCTAssertEqual(hash.hexDigest(), expected)
        }
    }

    func testCRC32() {
        XCTAssertEqual(CRC32.hex("123456789".utf8), "cbf43926")
        XCTAssertEqual(CRC32.hex("".utf8), "00000000")
    }

    func testRollingWindow() {
        var window = RollingWindow(capacity: 100)
        XCTAssertNil(window.summary)
        for value in 0..<250 { window.add(Double(value)) }
        XCTAssertEqual(window.summary?.count, 100)
        XCTAssertEqual(window.summary?.min, 150)
        XCTAssertEqual(window.summary?.p50, 199)
        window.clear()
        XCTAssertNil(window.summary)
    }

    func testSoftmax() {
        let p = Logits.softmax([1, 2, .nan, 1000])
        XCTAssertEqual(p[3], 1, accuracy: 1e-12)
        XCTAssertEqual(p[2], 0)
        XCTAssertEqual(Logits.softmax([0, 0]), [0.5, 0.5])
        XCTAssertEqual(Logits.softmax([]), [])
    }

    func testPreprocessRefusals() throws {
        let good = #"{"size":64,"crop_fraction":0.9,"interpolation":"bicubic","mean":[0,0,0],"std":[1,1,1],"color":"RGB","layout":"NCHW"}"#
        XCTAssertNoThrow(try JSONDecoder().decode(Preprocess.self, from: Data(good.utf8)))
        for (old, new, word) in [
            ("64", "15", "15"), ("0.9", "1.5", "1.5"), ("bicubic", "lanczos", "lanczos"),
            ("\"color\"", "\"colour\"", "colour"), ("RGB", "BGR", "BGR"), ("[1,1,1]", "[1,1,0]", "std"),
            ("[1,1,1]", "[1,1]", "std"), ("64", "[64]", "1 values"), ("64", "[64,8]", "8"),
            ("64", "64,\"fit\":\"squash\"", "squash"),
        ] {
            let text = good.replacingOccurrences(of: old, with: new)
            XCTAssertThrowsError(try JSONDecoder().decode(Preprocess.self, from: Data(text.utf8))) {
                XCTAssertTrue("\($0)".contains(word), "\($0)")
            }
        }
    }

    func testRectanglesAndStretching() throws {
        let text = #"{"size":[24,40],"crop_fraction":0.9,"interpolation":"bicubic","mean":[0,0,0],"std":[1,1,1],"color":"RGB","layout":"NCHW","fit":"stretch"}"#
        let read = try JSONDecoder().decode(Preprocess.self, from: Data(text.utf8))
        XCTAssertEqual(read.size, InputSize(height: 24, width: 40))
        XCTAssertEqual(read.fit, .stretch)
        XCTAssertEqual(try JSONDecoder().decode(Preprocess.self, from: JSONEncoder().encode(read)), read)
        // A square's side stays one number.
        XCTAssertEqual(String(decoding: try JSONEncoder().encode([InputSize.square(64)]), as: UTF8.self), "[64]")
    }

    func testManifestRefusals() throws {
        let data = try JSONEncoder().encode(manifest())
        XCTAssertEqual(try Manifest.read(data), try manifest())
        let text = String(decoding: data, as: UTF8.self).replacingOccurrences(of: "\\/", with: "/")
        for (old, new, word) in [
            ("mobilemod/manifest/1", "mobilemod/manifest/2", "schema"), ("\"num_classes\":5", "\"num_classes\":6", "labels"),
            ("a.pte", "../a.pte", "no path"), ("\"model\"", "\"modell\"", "'model' is missing"), ("{", "[", "damaged"),
        ] {
            XCTAssertTrue(text.contains(old), old)
            let changed = text.replacingOccurrences(of: old, with: new)
            XCTAssertThrowsError(try Manifest.read(Data(changed.utf8))) {
                XCTAssertTrue($0 is BadInput && "\($0)".contains(word), "\($0)")
            }
        }
    }

    func testBadImages() {
        XCTAssertThrowsError(try PixelImage(width: 0, height: 5, rgb: []))
        XCTAssertThrowsError(try PixelImage(width: 2, height: 2, rgb: [1, 2, 3]))
        XCTAssertThrowsError(try PixelImage(width: 2, height: 2, channels: 2, bytes: [1, 2, 3, 4, 5, 6, 7, 8]))
        let padded = try? PixelImage(width: 1, height: 2, channels: 4, bytes: [1, 2, 3, 0, 9, 9, 9, 9, 4, 5, 6], bytesPerRow: 8)
        XCTAssertNil(padded)
        let whole = try? PixelImage(width: 1, height: 2, channels: 4, bytes: [1, 2, 3, 0, 9, 9, 9, 9, 4, 5, 6, 0], bytesPerRow: 8)
        XCTAssertEqual(whole?.rgb, [1, 2, 3, 4, 5, 6])
    }

    func testNumbersAreExactAndFinite() {
        XCTAssertEqual(JSON.real(0.1).text, "0.1")
        XCTAssertEqual(JSON.real(Float(0.1)).double, Double(Float(0.1)))
        XCTAssertEqual(JSON.real(1e300).double, 1e300)
        XCTAssertEqual(JSON.real(Double.nan), .null)
        XCTAssertEqual(JSON.real(-Float.infinity), .null)
    }

    /// What a job's identity is computed from; Foundation's readers don't keep it.
    func testNumbersKeepTheirTextAndKeysTheirOrder() throws {
        let text = #"{"b":2.0,"a":[1e2,0.10,12345678901234567890]}"#
        XCTAssertEqual(try JSON.parse(Array(text.utf8)).text, text)
        let read = try JSONSerialization.jsonObject(with: Data(text.utf8))
        let written = try JSONSerialization.data(withJSONObject: read)
        XCTAssertNotEqual(String(decoding: written, as: UTF8.self), text)
    }

    /// Hostile bytes end in nil or an error, never in a crash.
    func testFuzz() throws {
        let seed = Line.encode([.init("type", .string("image")), .init("top", .array([.integer(1), .real(2.5)]))])
        var random = SplitMix(state: 42)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = Array(seed.utf8)
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: at)
                default: bytes.insert(contentsOf: "[{\"\\u".utf8.shuffled(using: &random), at: at)
                }
            }
            if let value = Line.decode(bytes) {
                accepted += 1
                XCTAssertEqual(value["type"]?.string, "image")
            }
            if let value = try? JSON.parse(bytes) { XCTAssertEqual(try JSON.parse(value.text), value) }
            _ = try? Job.read(Data(bytes))
            _ = try? Manifest.read(Data(bytes))
            _ = JobPath.isSafe(String(decoding: bytes, as: UTF8.self))
        }
        // The unchanged ones, about a quarter.
        XCTAssertGreaterThan(accepted, 3000)
        XCTAssertLessThan(accepted, 8000)
    }
}

/// SplitMix64, so that a fuzzed fault comes back.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
