import MobilemodCore
import SwiftUI
import UniformTypeIdentifiers

/// A folder of labelled images through the chosen file and its float file; the record lies where the
/// harness's do.
struct AccuracyView: View {
    @Environment(AppModel.self) private var model
    @State private var isChoosing = false
    @State private var files: [String] = []
    @State private var outcome: AccuracyJob.Outcome?
    @State private var record: URL?
    @State private var status: String?
    @State private var fault: String?
    @State private var running: Task<Void, Never>?

    var body: some View {
        List {
            Section {
                if running == nil {
                    Button("Choose a folder") { isChoosing = true }.disabled(model.phase != .ready)
                } else {
                    Button("Stop", role: .cancel) { running?.cancel() }
                }
                if let status { ProgressView(status) }
                if let fault { Fault(fault) }
            } footer: {
                Text("Images in subfolders that are called by the ids or names of the classes.")
            }
            if let outcome { figures(outcome) }
        }
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.folder]) { chosen in
            switch chosen {
            case .success(let folder): start(folder)
            case .failure(let error): fault = error.localizedDescription
            }
        }
        .onDisappear { running?.cancel() }
    }

    @ViewBuilder private func figures(_ outcome: AccuracyJob.Outcome) -> some View {
        Section("\(outcome.count) images") {
            ForEach(Array(zip(files, outcome.correct)), id: \.0) { file, correct in
                LabeledContent(file) { Text("\(100 * Double(correct) / Double(outcome.count), specifier: "%.2f") %") }
            }
            if outcome.correct.count > 1 {
                LabeledContent("Lost against the float file") {
                    Text("\(100 * Double(outcome.correct[1] - outcome.correct[0]) / Double(outcome.count), specifier: "%.2f") points")
                }
            }
            if let record { ShareLink("Share the record", items: [AccuracyJob.description(of: record), record]) }
        }
        if !outcome.changed.isEmpty {
            Section("\(outcome.changed.count) answers changed") {
                ForEach(outcome.changed, id: \.self) { Text($0) }
            }
        }
    }

    private func start(_ folder: URL) {
        (outcome, record, fault) = (nil, nil, nil)
        running = Task {
            UIApplication.shared.isIdleTimerDisabled = true
            do {
                try await measure(folder)
            } catch is CancellationError {
                fault = "Stopped."
            } catch {
                fault = error.localizedDescription
            }
            UIApplication.shared.isIdleTimerDisabled = false
            (running, status) = (nil, nil)
            model.reload()
        }
    }

    private func measure(_ folder: URL) async throws {
        guard let bundle = model.bundle, let file = model.file else { throw BadInput("No model is chosen.") }
        guard bundle.manifest.map == nil else { throw BadInput("Labelled folders are of classes, not of maps.") }
        await model.unload()
        let chosen = [file] + [bundle.twin(file)].compactMap { $0 }
        files = chosen.map(\.file)
        let candidates = chosen.map { one in
            let choice = model.choice(one)
            return AccuracyJob.Candidate(
                file: one, url: bundle.url(one), delegate: choice.delegate, threads: choice.threads
            )
        }
        let phone = model.phone
        let say: @Sendable (String) -> Void = { text in Task { @MainActor in status = text } }
        let work = Task.detached(priority: .userInitiated) {
            // Without it a folder outside the app can't be read.
            let isScoped = folder.startAccessingSecurityScopedResource()
            defer { if isScoped { folder.stopAccessingSecurityScopedResource() } }
            let documents = try FileManager.default.url(
                for: .documentDirectory, in: .userDomainMask, appropriateFor: nil, create: true
            )
            let store = JobStore(root: documents)
            let images = try AccuracyJob.images(below: folder, bundle.manifest)
            let job = try AccuracyJob.make(
                in: store, bundle.manifest, manifestData: bundle.manifestData(), candidates, images,
                golden: bundle.goldenData, decode: phone.decode
            ) { say("Preparing image \($0 + 1) of \(images.count)") }
            return (try await job.run(in: store, device: phone, progress: say), store.record(job.id))
        }
        (outcome, record) = try await withTaskCancellationHandler { try await work.value } onCancel: { work.cancel() }
    }
}
