import MobilemodCore
import SwiftUI

/// The bundle's golden images through the chosen file: right or wrong, and what is wrong.
struct SelfTestView: View {
    @Environment(AppModel.self) private var model
    @State private var results: [SelfTest.Result] = []
    @State private var preprocessing: PreprocessingCheck.Verdict?
    @State private var fault: String?
    @State private var isRunning = false

    var body: some View {
        List {
            Section {
                Button(isRunning ? "Running" : "Run the self-test") { Task { await run() } }
                    .disabled(isRunning || model.phase != .ready)
                if let fault { Fault(fault) }
            } footer: {
                Text("Compares this device's answers with those that were recorded at export.")
            }
            if let preprocessing {
                Section("Preprocessing") { PreprocessingRow(verdict: preprocessing) }
            }
            if !results.isEmpty {
                Section(results.allSatisfy(\.passed) ? "All passed" : "Failed") {
                    ForEach(results, id: \.image) {
                        SelfTestRow(
                            result: $0, ofMaps: model.bundle?.manifest.map != nil,
                            picture: model.bundle?.picture($0.image)
                        )
                    }
                    ShareLink("Share the results", item: shared)
                }
            }
        }
        .onChange(of: model.file) { _, _ in
            results = []
            preprocessing = nil
        }
    }

    /// A line for each image.
    private var shared: String {
        let head = [model.bundle?.manifest.model, model.file?.file].compactMap { $0 }.joined(separator: ", ")
        return ([head] + results.map(\.summary)).joined(separator: "\n")
    }

    private func run() async {
        guard let bundle = model.bundle, let file = model.file else { return }
        isRunning = true
        defer { isRunning = false }
        fault = nil
        do {
            results = try await model.classifier.withEngine { engine in
                try SelfTest.run(bundle.manifest, file, engine) { try bundle.golden($0) }
            } ?? []
            preprocessing = try await Task.detached { try checkPreprocessing(bundle) }.value
        } catch {
            fault = error.localizedDescription
        }
    }
}

/// What this app makes of a golden image against what the manifest asks for. Whoever replaces
/// `preprocess.pixels` by something faster is told here what went wrong.
private func checkPreprocessing(_ bundle: ModelBundle) throws -> PreprocessingCheck.Verdict? {
    guard let path = bundle.manifest.golden.last?.image else { return nil }
    let image = try bundle.golden(path)
    let preprocess = bundle.manifest.preprocess
    return PreprocessingCheck.verdict(preprocess.pixels(image), of: image, preprocess)
}

private struct PreprocessingRow: View {
    let verdict: PreprocessingCheck.Verdict

    var body: some View {
        switch verdict {
        case .right: Label("As the manifest asks for", systemImage: "checkmark.circle").foregroundStyle(.green)
        case .mistake(let name, _): Fault(name)
        case .unknown: Fault("Other pixels than the manifest asks for; no known mistake explains them")
        }
    }
}

private struct SelfTestRow: View {
    let result: SelfTest.Result
    let ofMaps: Bool
    let picture: UIImage?

    var body: some View {
        HStack {
            Thumbnail(picture: picture)
            words
        }
        .accessibilityElement(children: .combine)
    }

    private var words: some View {
        VStack(alignment: .leading) {
            if let fault = result.fault {
                Fault("\(result.image): \(fault.text)")
            } else {
                Label(result.image, systemImage: "checkmark.circle").foregroundStyle(.green)
            }
            difference
                .font(.footnote)
                .foregroundStyle(.secondary)
        }
    }

    private var difference: Text {
        if ofMaps {
            return Text("""
                \(result.largestDifference, specifier: "%.2f") % of the pixels differ, \
                allowed \(result.tolerance, specifier: "%.0f") %
                """)
        }
        return Text("""
            Largest difference \(result.largestDifference, specifier: "%.4f"), \
            allowed \(result.tolerance, specifier: "%.4f")
            """)
    }
}
