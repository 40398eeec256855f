import Foundation
import MobilemodCore
import Observation

/// A job that was asked for; its id is checked where it is opened.
struct JobRequest: Identifiable {
    let id: String
}

/// A picture that is looked at: the camera's, or a photo by its number.
enum Source: Equatable, Sendable {
    case camera
    case photo(Int)
}

/// A file and how it is run, by the protocol's names. threads: 0 leaves the runtime the choice.
struct Choice: Equatable, Sendable {
    let file: Manifest.ModelFile
    let delegate: String
    let threads: Int
}

/// What the app shows and what it runs on.
@MainActor @Observable
final class AppModel {
    enum Phase: Equatable {
        case loading
        case ready
        case failed(String)
    }

    private(set) var bundle: ModelBundle?
    private(set) var phase: Phase = .loading
    private(set) var answer: Answer?
    private(set) var latency: LatencySummary?
    /// Of the float file beside the chosen one, where both run.
    private(set) var twinLatency: LatencySummary?
    private(set) var framesPerSecond: Double?
    /// How strong a map's colours are over the picture.
    var opacity = 0.6
    var file: Manifest.ModelFile? { didSet { settingsChanged() } }
    var units: ComputeUnits = .all { didSet { settingsChanged() } }
    var threads = 1 { didSet { settingsChanged() } }
    /// Whether the float file runs on the same pictures as the chosen one, both in memory.
    var compares = false { didSet { settingsChanged() } }
    /// A job that was asked for by URL or launch argument.
    var job: JobRequest?

    let classifier = Classifier()
    let phone = Phone(battery: Battery())
    private var window = RollingWindow()
    private var twinWindow = RollingWindow()
    private var rate = FrameRate()
    private var source: Source?
    private var photos = 0
    private var generation = 0
    private var loading: Task<Void, Never>?
    /// What is loaded or being loaded: one file, or two on the same pictures.
    private var loaded: [Choice] = []
    /// Unloaded for someone who needs the memory and the processor, until `reload`.
    private var isLent = false

    func start() {
        phone.battery.watch()
        do {
            let bundle = try ModelBundle.load()
            self.bundle = bundle
            guard let first = bundle.files.first else {
                phase = .failed("The bundle has no file that this app runs.")
                return
            }
            file = first
        } catch {
            phase = .failed(error.localizedDescription)
        }
    }

    /// `mobilemod://harness?job=ID`
    func open(_ url: URL) {
        guard url.scheme == "mobilemod", url.host() == "harness" else { return }
        let items = URLComponents(url: url, resolvingAgainstBaseURL: false)?.queryItems ?? []
        job = JobRequest(id: items.first { $0.name == "job" }?.value ?? "")
    }

    /// `--job ID` among the launch arguments.
    func readArguments(_ arguments: [String]) {
        guard let at = arguments.firstIndex(of: "--job") else { return }
        job = JobRequest(id: at + 1 < arguments.count ? arguments[at + 1] : "")
    }

    /// Another picture: what was said of the one before goes with it.
    func look(at source: Source?) {
        self.source = source
        answer = nil
        rate.clear()
        framesPerSecond = nil
    }

    /// As `look`, at a photo with a number of its own.
    func lookAtPhoto() -> Source {
        photos += 1
        look(at: .photo(photos))
        return .photo(photos)
    }

    /// Shows the answer to a photo or a frame, if picture and model still are.
    func show(_ answer: Answer, of source: Source) {
        guard source == self.source, answer.generation == generation else { return }
        self.answer = answer
        if source == .camera {
            rate.add(Clock.seconds())
            framesPerSecond = rate.perSecond
        }
        window.add(answer.inferenceMs)
        latency = window.summary
        if let compared = answer.compared {
            twinWindow.add(compared.inferenceMs)
            twinLatency = twinWindow.summary
        }
    }

    func show(_ error: Error) {
        phase = .failed(error.localizedDescription)
    }

    /// The chosen file and how it is run; nil before one is chosen.
    var choice: Choice? { file.map(choice) }

    /// The float file that the chosen one is compared with.
    var twin: Manifest.ModelFile? { file.flatMap { bundle?.twin($0) } }

    private var choices: [Choice] { [file, compares ? twin : nil].compactMap { $0 }.map(choice) }

    /// How a file is run by the settings of now. What doesn't concern it is no part of it.
    func choice(_ file: Manifest.ModelFile) -> Choice {
        switch file.target {
        case let target where EngineLoader.takesUnits(target):
            return Choice(file: file, delegate: units.rawValue, threads: 0)
        case EngineLoader.executorchCoreML: return Choice(file: file, delegate: "coreml", threads: 0)
        default: return Choice(file: file, delegate: EngineLoader.usualDelegate(file.target), threads: threads)
        }
    }

    /// A fresh engine, of which no one else knows. Throws what loading throws.
    func freshEngine(_ choice: Choice) async throws -> Engine {
        guard let bundle else { throw BadInput("No model is chosen.") }
        return try await EngineLoader.load(
            bundle.url(choice.file), target: choice.file.target, sha256: choice.file.sha256,
            delegate: choice.delegate, threads: choice.threads, manifest: bundle.manifest
        )
    }

    /// Nothing is loaded afterwards, nor being loaded.
    func unload() async {
        isLent = true
        loading?.cancel()
        await loading?.value
        await classifier.use(nil)
        loaded = []
        phase = .loading
    }

    /// Loads anew where the settings of now ask for something else than is loaded.
    private func settingsChanged() {
        if !isLent, choices != loaded { reload() }
    }

    /// Loads the chosen file anew, and its float file where they are compared. While a job is open nothing
    /// is: two models at once would spoil the job's times and its memory.
    func reload() {
        let choices = choices
        guard job == nil, !choices.isEmpty else { return }
        loaded = choices
        isLent = false
        phase = .loading
        answer = nil
        latency = nil
        twinLatency = nil
        generation = 0
        window.clear()
        twinWindow.clear()
        let before = loading
        before?.cancel()
        loading = Task {
            await before?.value
            if Task.isCancelled { return }
            await classifier.use(nil)
            do {
                // Both before any runs: ExecuTorch's threads can't be set while it does.
                var files: [LoadedFile] = []
                for choice in choices {
                    files.append(LoadedFile(engine: try await freshEngine(choice), target: choice.file.target))
                    if Task.isCancelled { return }
                }
                let second = files.count > 1 ? files[1] : nil
                generation = await classifier.use(files[0], second: second, bundle?.manifest)
                phase = .ready
            } catch {
                phase = .failed(error.localizedDescription)
            }
        }
    }
}
