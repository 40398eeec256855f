import MobilemodCore
import SwiftUI

/// The best classes with their bars, and latency as it is now.
struct ResultList: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        VStack(alignment: .leading, spacing: 8) {
            switch model.phase {
            case .loading: ProgressView("Loading the model")
            case .failed(let message): Fault(message)
            case .ready: rows
            }
            if let latency = model.latency, let answer = model.answer {
                Text("""
                    p50 \(latency.p50, specifier: "%.1f") ms, p90 \(latency.p90, specifier: "%.1f") ms, \
                    preprocessing \(answer.preprocessMs, specifier: "%.1f") ms
                    """)
                    .font(.footnote)
                    .monospacedDigit()
                    .foregroundStyle(.secondary)
                    .accessibilityLabel("""
                        Latency of the last \(latency.count) inferences: half below \
                        \(latency.p50, specifier: "%.1f") milliseconds, nine in ten below \
                        \(latency.p90, specifier: "%.1f") milliseconds
                        """)
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
        .padding()
    }

    @ViewBuilder private var rows: some View {
        if let answer = model.answer, let manifest = model.bundle?.manifest {
            ForEach(Array(answer.top.enumerated()), id: \.element.classIndex) { position, ranked in
                ResultRow(label: manifest.label(ranked.classIndex), probability: answer.probabilities[position])
            }
        } else {
            Text("Point the camera at something, or choose a photo.").foregroundStyle(.secondary)
        }
    }
}

/// One class: its name, its share as a bar and in figures.
struct ResultRow: View {
    let label: String
    let probability: Double

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            HStack {
                Text(label).font(.body)
                Spacer()
                Text(probability, format: .percent.precision(.fractionLength(1)))
                    .font(.body)
                    .monospacedDigit()
            }
            ProgressView(value: min(max(probability, 0), 1))
        }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(label)
        .accessibilityValue(Text(probability, format: .percent.precision(.fractionLength(1))))
    }
}

/// What went wrong, in one line.
struct Fault: View {
    let message: String

    init(_ message: String) {
        self.message = message
    }

    var body: some View {
        Label(message, systemImage: "exclamationmark.triangle").foregroundStyle(.red)
    }
}
