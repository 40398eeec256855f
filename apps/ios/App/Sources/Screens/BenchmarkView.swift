import MobilemodCore
import SwiftUI

/// A sustained run with its thermal state; the record can be shared.
struct BenchmarkView: View {
    @Environment(AppModel.self) private var model
    @State private var minutes = 1
    @State private var progress: Benchmark.Progress?
    @State private var record: Benchmark.Record?
    @State private var shared: URL?
    @State private var fault: String?
    @State private var running: Task<Void, Never>?

    var body: some View {
        List {
            if let bundle = model.bundle {
                Section(bundle.manifest.model) { ModelPickers(bundle: bundle) }.disabled(running != nil)
            }
            Section {
                Stepper("Run for \(minutes) min", value: $minutes, in: 1...30)
                if running == nil {
                    Button("Start") { start() }.disabled(model.phase != .ready)
                } else {
                    Button("Stop", role: .cancel) { running?.cancel() }
                }
                if let fault { Fault(fault) }
            } footer: {
                Text("Keep the app open and the phone on a table, off the charger.")
            }
            if let progress {
                Section("Now") {
                    LabeledContent("Seconds", value: progress.seconds, format: .number.precision(.fractionLength(0)))
                    figure("p50", progress.summary.p50)
                    figure("p90", progress.summary.p90)
                    LabeledContent("Thermal state", value: progress.thermal ?? "unknown")
                }
            }
            if let record {
                Section("Whole run, \(record.summary.count) inferences") {
                    figure("p50", record.summary.p50)
                    figure("p90", record.summary.p90)
                    figure("p99", record.summary.p99)
                    figure("Fastest", record.summary.min)
                    LabeledContent("First minute to last") {
                        Text("\(record.sustained.lossPercent, specifier: "%+.1f") %").monospacedDigit()
                    }
                    if let shared { ShareLink("Share the record", item: shared) }
                }
            }
        }
        .onDisappear { running?.cancel() }
    }

    private func figure(_ name: String, _ milliseconds: Double) -> some View {
        LabeledContent(name) { Text("\(milliseconds, specifier: "%.2f") ms").monospacedDigit() }
    }

    private func start() {
        (progress, record, shared, fault) = (nil, nil, nil, nil)
        running = Task {
            defer {
                running = nil
                UIApplication.shared.isIdleTimerDisabled = false
            }
            // A phone that goes to sleep measures nothing.
            UIApplication.shared.isIdleTimerDisabled = true
            do {
                let found = try await measure()
                record = found
                shared = try write(found)
            } catch is CancellationError {
                fault = "Stopped."
            } catch {
                fault = error.localizedDescription
            }
        }
    }

    private func measure() async throws -> Benchmark.Record {
        guard let choice = model.choice, let bundle = model.bundle else { throw BadInput("No model is chosen.") }
        let seconds = 60 * Double(minutes)
        let benchmark = Benchmark(
            manifest: bundle.manifest, file: choice.file, threads: choice.threads,
            delegate: choice.delegate, device: model.phone
        )
        let report: @Sendable (Benchmark.Progress) -> Void = { now in Task { @MainActor in progress = now } }
        let work = Task.detached { [classifier = model.classifier] in
            let image = try bundle.manifest.golden.first.map { try bundle.golden($0.image) }
            guard let image else { throw BadInput("The bundle has no golden image to run on.") }
            let record = try await classifier.withEngine { engine in
                try benchmark.run(engine, on: image, seconds: seconds, report: report)
            }
            guard let record else { throw BadInput("No model is loaded.") }
            return record
        }
        return try await withTaskCancellationHandler { try await work.value } onCancel: { work.cancel() }
    }

    private func write(_ record: Benchmark.Record) throws -> URL {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("mobilemod-benchmark.json")
        try Data(record.json.text.utf8).write(to: url, options: .atomic)
        return url
    }
}
