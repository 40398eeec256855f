import CoreML
import Foundation
import MobilemodCore

/// Loads a model file with the runtime that its target needs.
enum EngineLoader {
    static let coreML = "coreml"
    /// Apple's runtime beside Core ML; `.aimodel` files.
    static let coreAI = "coreai"
    /// A `.pte` whose one op is a call of ExecuTorch's Core ML delegate.
    static let executorchCoreML = "executorch:coreml"

    /// Targets that this app runs.
    static let targets: Set<String> = {
        var targets: Set = [coreML]
        #if canImport(ExecuTorch)
        targets.formUnion(["executorch", executorchCoreML])
        #endif
        #if canImport(CoreAI)
        if #available(iOS 27, *) { targets.insert(coreAI) }
        #endif
        return targets
    }()

    /// Whether a target's files run on the `ComputeUnits` that are chosen.
    static func takesUnits(_ target: String) -> Bool { target == coreML || target == coreAI }

    /// How a file is run where nobody chose: the first delegate of its target.
    static func usualDelegate(_ target: String) -> String {
        switch target {
        case coreML, coreAI: return "all"
        case executorchCoreML: return "coreml"
        default: return "xnnpack"
        }
    }

    /// delegate: Core ML's and Core AI's compute units by the protocol's names, "xnnpack" for ExecuTorch, "coreml"
    /// for its Core ML delegate, which runs on all units and chooses its threads.
    /// threads: for ExecuTorch; 0 leaves it the choice. sha256: names the compiled package.
    /// Throws `Unavailable` for a target or delegate that doesn't exist here, and what runtimes throw.
    static func load(
        _ url: URL, target: String, sha256: String, delegate: String, threads: Int, manifest: Manifest
    ) async throws -> Engine {
        switch target {
        case coreML:
            let units = try units(delegate)
            let compiled = try await CompiledModels.compiled(url, sha256: sha256)
            return try CoreMLEngine(
                compiled: compiled, units: units, preprocess: manifest.preprocess, outputs: manifest.outputCount
            )
        case coreAI:
            #if canImport(CoreAI)
            if #available(iOS 27, *) {
                return try await CoreAIEngine(
                    url, units: units(delegate), preprocess: manifest.preprocess, outputs: manifest.outputCount
                )
            }
            #endif
            throw Unavailable("Core AI needs iOS 27 and an app that was built with its SDK")
        case "executorch":
            #if canImport(ExecuTorch)
            guard delegate == "xnnpack" || delegate == "cpu" else {
                throw Unavailable("ExecuTorch runs on 'xnnpack' here, not '\(delegate)'")
            }
            return try ExecuTorchEngine(url, threads: threads, manifest: manifest)
            #else
            throw Unavailable("this build has no ExecuTorch")
            #endif
        case executorchCoreML:
            #if canImport(ExecuTorch)
            guard delegate == "coreml" else {
                throw Unavailable("ExecuTorch runs this file on 'coreml', not '\(delegate)'")
            }
            return try ExecuTorchEngine(url, threads: 0, manifest: manifest, delegate: "Core ML")
            #else
            throw Unavailable("this build has no ExecuTorch")
            #endif
        default:
            throw Unavailable("this app runs no \(target) files")
        }
    }

    private static func units(_ delegate: String) throws -> ComputeUnits {
        guard let units = ComputeUnits(rawValue: delegate) else {
            throw Unavailable("there are no compute units '\(delegate)'")
        }
        return units
    }
}

/// Compiled Core ML packages. A bundled one is compiled by the build; one that a job brings is
/// compiled here, once, and kept in the caches by its hash.
enum CompiledModels {
    static func compiled(_ url: URL, sha256: String) async throws -> URL {
        if url.pathExtension == "mlmodelc" { return url }
        guard JobPath.isJobID(sha256) else { throw BadInput("'\(sha256)' is no sha256") }
        let manager = FileManager.default
        let folder = try manager.url(for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
            .appendingPathComponent("compiled", isDirectory: true)
        let kept = folder.appendingPathComponent("\(sha256).mlmodelc", isDirectory: true)
        if manager.fileExists(atPath: kept.path) { return kept }
        let made = try await MLModel.compileModel(at: url)
        try manager.createDirectory(at: folder, withIntermediateDirectories: true)
        try manager.moveItem(at: made, to: kept)
        return kept
    }
}
