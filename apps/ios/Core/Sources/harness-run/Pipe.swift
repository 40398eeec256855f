import Foundation
import MobilemodCore

/// Requests and answers over the standard streams: a JSON line, then `bytes` raw bytes.
///
/// `decode` (an image file follows) is answered by RGB bytes, `load` by a runtime's name, `run`
/// (float32 of (3, S, S) follow) by float32 logits. An answer with `error` fails the request.
enum Pipe {
    private static let input = FileHandle.standardInput

    static func ask(_ members: [JSON.Member], _ payload: Data = Data()) throws -> (JSON, Data) {
        let head = JSON.object(members + [.init("bytes", .integer(payload.count))]).text
        FileHandle.standardOutput.write(Data((head + "\n").utf8) + payload)
        var line: [UInt8] = []
        while let byte = try input.read(upToCount: 1)?.first, byte != 0x0A { line.append(byte) }
        guard !line.isEmpty else { throw BadInput("the process that runs the models has ended") }
        let answer = try JSON.parse(line)
        if let message = answer["error"]?.string { throw BadInput(message) }
        var data = Data()
        let count = answer["bytes"]?.int ?? 0
        while data.count < count {
            guard let part = try input.read(upToCount: count - data.count), !part.isEmpty else {
                throw BadInput("an answer was cut off")
            }
            data += part
        }
        return (answer, data)
    }
}

struct PipedDevice: Device {
    var facts: DeviceFacts {
        DeviceFacts(
            kind: "command line", os: ProcessInfo.processInfo.operatingSystemVersionString,
            cores: ProcessInfo.processInfo.activeProcessorCount, appName: "harness-run", appVersion: "1"
        )
    }

    func state() -> DeviceState { DeviceState() }

    func now() -> Double { Double(DispatchTime.now().uptimeNanoseconds) / 1e9 }

    func decode(_ data: Data) throws -> PixelImage {
        let (answer, bytes) = try Pipe.ask([.init("op", .string("decode"))], data)
        let image = try PixelImage(
            width: answer["width"]?.int ?? 0, height: answer["height"]?.int ?? 0, rgb: [UInt8](bytes)
        )
        return image.oriented(answer["orientation"]?.int ?? 1)
    }

    func load(
        _ file: Job.ModelFile, at url: URL, configuration: Job.Configuration, manifest: Manifest
    ) async throws -> Engine {
        let (answer, _) = try Pipe.ask([
            .init("op", .string("load")), .init("path", .string(url.path)),
            .init("threads", .integer(configuration.threads)),
        ])
        return PipedEngine(
            runtime: answer["runtime"]?.string ?? "unknown", model: answer["model"]?.int ?? 0,
            preprocess: manifest.preprocess
        )
    }
}

final class PipedEngine: Engine, @unchecked Sendable {
    let runtime: String
    let partitions: Int? = nil
    private let model: Int
    private let preprocess: Preprocess
    private var tensor = Data()

    init(runtime: String, model: Int, preprocess: Preprocess) {
        self.runtime = runtime
        self.model = model
        self.preprocess = preprocess
    }

    func prepare(_ pixels: PixelImage) throws {
        tensor = preprocess.normalize(pixels).withUnsafeBytes { Data($0) }
    }

    func run() throws -> [Float] {
        let (_, data) = try Pipe.ask([.init("op", .string("run")), .init("model", .integer(model))], tensor)
        return data.withUnsafeBytes { raw in
            stride(from: 0, to: raw.count, by: 4).map { raw.loadUnaligned(fromByteOffset: $0, as: Float.self) }
        }
    }
}
