// Times the preparation of one decoded image: `preparation-run FILE.rgb WIDTH HEIGHT REPEATS
// MANIFEST.json`. FILE.rgb: uint8 (HEIGHT, WIDTH, 3), raw. Prints one JSON object, `milliseconds` of each
// repeat and `sha256` of the prepared pixels, uint8 (size, size, 3).
//
// On Linux it is built in release mode, into apps/ios/.check/build/release, from the repository's root:
//   PYTHONPATH=apps/ios/check .venv/bin/python -c \
//     'import core, toolchain; print(core.build(toolchain.find(), "--product", "preparation-run"))'
// and started by `toolchain.find().command(PATH, ARGUMENTS)` with `toolchain.find().environment()`, which
// sees files in the repository and in the folders that are named to it.
import Foundation
import MobilemodCore

do {
    let arguments = CommandLine.arguments
    guard arguments.count == 6, let width = Int(arguments[2]), let height = Int(arguments[3]),
          let repeats = Int(arguments[4]), repeats > 0
    else { throw BadInput("usage: preparation-run FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json") }
    func read(_ path: String) throws -> Data {
        guard let data = FileManager.default.contents(atPath: path) else { throw BadInput("\(path) can't be read") }
        return data
    }
    let image = try PixelImage(width: width, height: height, rgb: [UInt8](read(arguments[1])))
    let preprocess = try Manifest.read(read(arguments[5])).preprocess
    var milliseconds: [JSON] = [], digest = ""
    for _ in 0..<repeats {
        let began = DispatchTime.now().uptimeNanoseconds
        let pixels = preprocess.pixels(image)
        milliseconds.append(.real(Double(DispatchTime.now().uptimeNanoseconds - began) / 1e6))
        digest = pixels.sha256
    }
    print(JSON.object([.init("milliseconds", .array(milliseconds)), .init("sha256", .string(digest))]).text)
} catch {
    FileHandle.standardError.write(Data("error: \(error.localizedDescription)\n".utf8))
    exit(error is BadInput ? 2 : 3)
}
