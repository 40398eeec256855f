import Foundation
import MobilemodCore
import UIKit

/// The bundle inside the app, put there by `make apps` and the build's "Model" phase: the manifest,
/// model files (Core ML packages compiled) and golden images.
struct ModelBundle: Sendable {
    let folder: URL
    let manifest: Manifest

    /// Throws `BadInput` where there is none, or a damaged one.
    static func load() throws -> ModelBundle {
        let folder = Bundle.main.bundleURL.appendingPathComponent("Model", isDirectory: true)
        let path = folder.appendingPathComponent(Manifest.fileName)
        guard let data = try? Data(contentsOf: path) else {
            throw BadInput("The app has no model: run 'make apps' and build it again.")
        }
        return ModelBundle(folder: folder, manifest: try Manifest.read(data))
    }

    /// Those that this app can run, in the manifest's order.
    var files: [Manifest.ModelFile] { manifest.files(of: EngineLoader.targets) }

    /// Where a file lies; of a Core ML package, what the build compiled.
    func url(_ file: Manifest.ModelFile) -> URL {
        let url = folder.appendingPathComponent(file.file)
        guard url.pathExtension == "mlpackage" else { return url }
        return url.deletingPathExtension().appendingPathExtension("mlmodelc")
    }

    /// The manifest as it lies in the bundle. Throws what reading throws.
    func manifestData() throws -> Data { try Data(contentsOf: folder.appendingPathComponent(Manifest.fileName)) }

    /// A golden image's file. Throws where it is missing.
    func goldenData(_ path: String) throws -> Data { try Data(contentsOf: folder.appendingPathComponent(path)) }

    /// A golden image's pixels. Throws where it is missing or no image.
    func golden(_ path: String) throws -> PixelImage { try ImageDecoder.decode(goldenData(path)) }

    /// The same to be shown; nil where it can't be read.
    func picture(_ path: String) -> UIImage? {
        UIImage(contentsOfFile: folder.appendingPathComponent(path).path)
    }

    /// The float file that a file is compared with: of the same target where there is one.
    func twin(_ file: Manifest.ModelFile) -> Manifest.ModelFile? {
        let others = files.filter { $0.precision.hasPrefix("float") && $0 != file }
        return others.first { $0.target == file.target } ?? others.first
    }

    /// What to say where the linked ExecuTorch isn't the one that wrote a file; its int8 logits can
    /// differ by a few steps from one version to the next.
    func warning(_ file: Manifest.ModelFile) -> String? {
        guard file.target.hasPrefix("executorch"), let wrote = manifest.tools["executorch"],
              wrote != AppFacts.executorchVersion
        else { return nil }
        return "Written by ExecuTorch \(wrote), run by \(AppFacts.executorchVersion): logits may differ slightly."
    }
}
