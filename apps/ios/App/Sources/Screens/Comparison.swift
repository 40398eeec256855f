import MobilemodCore
import SwiftUI

/// A picture through the chosen file and its float file, side by side.
struct Comparison: View {
    let pixels: PixelImage
    @Environment(AppModel.self) private var model
    @State private var columns: [Column] = []
    @State private var agreed = (same: 0, all: 0)
    @State private var isRunning = false
    @State private var fault: String?

    /// What one file answers.
    struct Column: Identifiable, Sendable {
        let file: Manifest.ModelFile
        let shares: [ClassShare]
        let milliseconds: Double
        var id: String { file.file }
    }

    var body: some View {
        if let file = model.file, let twin = model.bundle?.twin(file) {
            VStack(spacing: 8) {
                Button(isRunning ? "Running" : "Compare with \(twin.precision)") {
                    Task { await run(file, twin) }
                }
                .disabled(isRunning || model.phase != .ready)
                HStack(alignment: .top) { ForEach(columns) { column in of(column) } }
                if agreed.all > 0 {
                    Text("The same best class in \(agreed.same) of \(agreed.all) pictures").font(.footnote)
                }
                if let fault { Fault(fault) }
            }
            .onChange(of: model.file) { _, _ in
                columns = []
                agreed = (0, 0)
            }
        }
    }

    private func of(_ column: Column) -> some View {
        VStack(alignment: .leading, spacing: 4) {
            Text(column.file.precision)
            Text("\(column.milliseconds, specifier: "%.2f") ms, \(column.file.bytes.formatted(.byteCount(style: .file)))")
                .font(.footnote)
                .monospacedDigit()
            ForEach(column.shares.prefix(3).map { $0 }, id: \.classIndex) {
                ResultRow(label: model.bundle?.manifest.label($0.classIndex) ?? "", share: $0.share)
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    /// One file after the other, each alone in memory; the chosen one is loaded again in the end.
    private func run(_ file: Manifest.ModelFile, _ twin: Manifest.ModelFile) async {
        isRunning = true
        fault = nil
        await model.unload()
        do {
            columns = [try await answer(file), try await answer(twin)]
            agreed.all += 1
            if columns[0].shares.first?.classIndex == columns[1].shares.first?.classIndex { agreed.same += 1 }
        } catch {
            fault = error.localizedDescription
        }
        isRunning = false
        model.reload()
    }

    /// The median of eleven inferences, after one that isn't counted.
    private func answer(_ file: Manifest.ModelFile) async throws -> Column {
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
            let shares = try manifest.mapOutput(output, file.target)?.map().shares()
                .map { ClassShare(classIndex: $0.code, share: $0.share) } ?? Classifier.best(output)
            return Column(file: file, shares: shares, milliseconds: LatencySummary(times)?.p50 ?? 0)
        }.value
    }
}
