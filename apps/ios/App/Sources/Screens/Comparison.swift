import MobilemodCore
import SwiftUI

/// What one file says of a picture.
struct FileAnswer: Identifiable, Sendable {
    let file: Manifest.ModelFile
    let shares: [ClassShare]
    let milliseconds: Double
    var id: String { file.file }
}

/// Two files' answers side by side, and how alike they were so far.
struct FileAnswers: View {
    let answers: [FileAnswer]
    let agreement: Agreement
    @Environment(AppModel.self) private var model

    var body: some View {
        HStack(alignment: .top) { ForEach(answers) { answer in column(answer) } }
        if let percent = agreement.percent {
            Text("""
                The same \(model.bundle?.manifest.map == nil ? "best class" : "class of a pixel") in \
                \(percent, specifier: "%.1f") %, pictures: \(agreement.pictures)
                """)
                .font(.footnote)
                .monospacedDigit()
        }
    }

    private func column(_ answer: FileAnswer) -> some View {
        VStack(alignment: .leading, spacing: 4) {
            Text(answer.file.precision)
            Text("\(answer.milliseconds, specifier: "%.2f") ms, \(answer.file.bytes.formatted(.byteCount(style: .file)))")
                .font(.footnote)
                .monospacedDigit()
            ForEach(answer.shares.prefix(3).map { $0 }, id: \.classIndex) {
                ResultRow(label: model.bundle?.manifest.label($0.classIndex) ?? "", share: $0.share)
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
    }
}

/// The camera's pictures through the chosen file and its float file, in turns; the milliseconds are the
/// median of the last inferences.
struct LiveComparison: View {
    @Binding var isOn: Bool
    @Environment(AppModel.self) private var model

    var body: some View {
        if let file = model.file, let twin = model.twin {
            VStack(spacing: 8) {
                Toggle("Beside \(twin.precision)", isOn: $isOn)
                if let answer = model.answer, let compared = answer.compared {
                    FileAnswers(
                        answers: [
                            FileAnswer(file: file, shares: answer.shares, milliseconds: model.latency?.p50 ?? 0),
                            FileAnswer(file: twin, shares: compared.shares, milliseconds: model.twinLatency?.p50 ?? 0),
                        ],
                        agreement: compared.agreement
                    )
                }
            }
            .padding(.horizontal)
        }
    }
}

/// A picture through the chosen file and its float file, side by side.
struct Comparison: View {
    let pixels: PixelImage
    @Environment(AppModel.self) private var model
    @State private var answers: [FileAnswer] = []
    @State private var agreement = Agreement()
    @State private var isRunning = false
    @State private var fault: String?

    var body: some View {
        if let file = model.file, let twin = model.twin {
            VStack(spacing: 8) {
                Button(isRunning ? "Running" : "Compare with \(twin.precision)") {
                    Task { await run(file, twin) }
                }
                .disabled(isRunning || model.phase != .ready)
                FileAnswers(answers: answers, agreement: agreement)
                if let fault { Fault(fault) }
            }
            .onChange(of: model.file) { _, _ in
                answers = []
                agreement = Agreement()
            }
        }
    }

    /// One file after the other, each alone in memory; the chosen one is loaded again in the end.
    private func run(_ file: Manifest.ModelFile, _ twin: Manifest.ModelFile) async {
        isRunning = true
        fault = nil
        await model.unload()
        do {
            let own = try await answer(file), other = try await answer(twin)
            answers = [own.0, other.0]
            agreement.add(own.1, other.1)
        } catch {
            fault = error.localizedDescription
        }
        isRunning = false
        model.reload()
    }

    /// The median of eleven inferences, after one that isn't counted.
    private func answer(_ file: Manifest.ModelFile) async throws -> (FileAnswer, Verdict) {
        guard let manifest = model.bundle?.manifest else { throw BadInput("No model is chosen.") }
        let engine = try await model.freshEngine(model.choice(file))
        let pixels = pixels
        return try await Task.detached(priority: .userInitiated) {
            try engine.prepare(manifest.preprocess.pixels(pixels))
            var output = try engine.run()
            var times: [Double] = []
            for _ in 0..<11 {
                let began = Clock.seconds()
                output = try engine.run()
                times.append(1e3 * (Clock.seconds() - began))
            }
            let window = manifest.preprocess.window(imageWidth: pixels.width, imageHeight: pixels.height)
            let map = try manifest.mapOutput(output, file.target).map { window.withoutBars($0.map()) }
            let shares = map?.shares().map { ClassShare(classIndex: $0.code, share: $0.share) }
                ?? Classifier.best(output)
            return (
                FileAnswer(file: file, shares: shares, milliseconds: LatencySummary(times)?.p50 ?? 0),
                map.map { .map($0) } ?? .best(shares.first?.classIndex)
            )
        }.value
    }
}
