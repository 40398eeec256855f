import XCTest
@testable import MobilemodCore

/// The fast passes against sums of integers, one value at a time.
final class ResamplingTests: XCTestCase {
    private func exact(_ image: PixelImage, _ k: ResamplingWeights, across: Bool) -> [UInt8] {
        let lines = across ? image.height : image.width
        var out = [UInt8](repeating: 0, count: 3 * lines * k.starts.count)
        for line in 0..<lines {
            for position in k.starts.indices {
                for channel in 0..<3 {
                    var sum = 1 << 21
                    for i in 0..<k.counts[position] {
                        let at = k.starts[position] + i
                        let pixel = across ? line * image.width + at : at * image.width + line
                        sum += Int(k.values[position * k.size + i]) * Int(image.rgb[3 * pixel + channel])
                    }
                    let to = across ? line * k.starts.count + position : position * lines + line
                    out[3 * to + channel] = UInt8(clamping: sum >> 22)
                }
            }
        }
        return out
    }

    /// "checks" has sums that lie half-way between two whole numbers; sizes fill no vector.
    func testBothWays() throws {
        for (pattern, width, height) in [("noise", 331, 43), ("checks", 512, 37), ("ramp", 18, 129)] {
            let image = try Drawing.image(pattern, width: width, height: height, channels: 3)
            for (side, interpolation) in [(64, Interpolation.bicubic), (256, .bilinear), (700, .bicubic), (9, .nearest)] {
                let columns = ResamplingWeights(from: width, to: side, 0..<side, interpolation)
                let across = ResamplingPass.horizontal(image, columns, 0, 0..<height)
                XCTAssertTrue(across.rgb == exact(image, columns, across: true), "\(pattern) to \(side) columns")
                let rows = ResamplingWeights(from: height, to: side, 0..<side, interpolation)
                let down = ResamplingPass.vertical(image, rows, 0, 0..<width)
                XCTAssertTrue(down.rgb == exact(image, rows, across: false), "\(pattern) to \(side) rows")
            }
        }
    }

    /// So much that several cores share it.
    func testLargePhoto() throws {
        let image = try Drawing.image("noise", width: 2000, height: 1201, channels: 3)
        let columns = ResamplingWeights(from: 2000, to: 256, 11..<245, .bicubic)
        let across = ResamplingPass.horizontal(image, columns, 0, 0..<1201)
        XCTAssertTrue(across.rgb == exact(image, columns, across: true))
    }

    /// What the kernel is taken for: every piece reads no more than the buffer holds, none is left out.
    func testPieces() {
        for (source, target) in [(4032, 341), (100, 300), (9000, 40)] {
            let weights = ResamplingWeights(from: source, to: target, 3..<target - 2, .bicubic)
            let pieces = weights.pieces(max(256, weights.size))
            XCTAssertEqual(pieces.flatMap(Array.init), Array(weights.starts.indices))
            XCTAssertTrue(pieces.allSatisfy { weights.read($0).count <= max(256, weights.size) })
        }
    }
}
