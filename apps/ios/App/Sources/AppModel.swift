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
    private(set) var framesPerSecond: Double?
    /// How strong a map's colours are over the picture.
    var opacity = 0.6
    var file: Manifest.ModelFile? { didSet { if file != oldValue { reload() } } }
    var units: ComputeUnits = .all { didSet { if units != oldValue { reload() } } }
    var threads = 1 { didSet { if threads != oldValue { reload() } } }
    /// A job that was asked for by URL or launch argument.
    var job: JobRequest?

    let classifier = Classifier()
    let phone = Phone(battery: Battery())
    private var window = RollingWindow()
    private var rate = FrameRate()
    private var source: Source?
    private var photos = 0
    private var generation = 0
    private var loading: Task<Void, Never>?

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
    }

    func show(_ error: Error) {
        phase = .failed(error.localizedDescription)
    }

    /// How the chosen file is run, by the protocol's names.
    var configuration: (delegate: String, threads: Int) {
        let target = file?.target ?? ""
        return target == "coreml" ? (units.rawValue, 0) : (EngineLoader.usualDelegate(target), threads)
    }

    /// A fresh engine of the chosen file, of which no one else knows.
    func freshEngine() async throws -> Engine {
        guard let bundle, let file else { throw BadInput("No model is chosen.") }
        return try await EngineLoader.load(
            bundle.url(file), target: file.target, sha256: file.sha256,
            delegate: configuration.delegate, threads: configuration.threads, manifest: bundle.manifest
        )
    }

    /// Nothing is loaded afterwards, nor being loaded.
    func unload() async {
        loading?.cancel()
        await loading?.value
        await classifier.use(nil)
    }

    /// Loads the chosen file anew. While a job is open nothing is: two models at once would spoil the
    /// job's times and its memory.
    func reload() {
        guard job == nil else { return }
        phase = .loading
        answer = nil
        latency = nil
        generation = 0
        window.clear()
        let before = loading
        before?.cancel()
        loading = Task {
            await before?.value
            if Task.isCancelled { return }
            await classifier.use(nil)
            do {
                let engine = try await freshEngine()
                if Task.isCancelled { return }
                generation = await classifier.use(engine, bundle?.manifest, target: file?.target ?? "")
                phase = .ready
            } catch {
                phase = .failed(error.localizedDescription)
            }
        }
    }
}
