import MobilemodCore
import SwiftUI

/// The best classes, or a map's with their colours, each with its bar, and latency as it is now.
struct ResultList: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        VStack(alignment: .leading, spacing: 8) {
            if let latency = model.latency, let answer = model.answer {
                Text("""
                    p50 \(latency.p50, specifier: "%.1f") ms, p90 \(latency.p90, specifier: "%.1f") ms, \
                    preprocessing \(answer.preprocessMs, specifier: "%.1f") ms\(frames)
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
            OpacitySlider()
            switch model.phase {
            case .loading: ProgressView("Loading the model")
            case .failed(let message): Fault(message)
            case .ready: rows
            }
        }
        .frame(maxWidth: .infinity, alignment: .leading)
        .padding()
    }

    private var frames: String {
        guard let rate = model.framesPerSecond else { return "" }
        return ", \(rate.formatted(.number.precision(.fractionLength(1)))) frames/s"
    }

    @ViewBuilder private var rows: some View {
        if let answer = model.answer, let manifest = model.bundle?.manifest {
            if answer.shares.isEmpty { Fault("No answer: the model gave a value that is no number.") }
            ForEach(answer.shares, id: \.classIndex) { one in
                ResultRow(
                    label: manifest.label(one.classIndex), share: one.share,
                    colour: answer.segmented == nil ? nil : Palette.colour(one.classIndex)
                )
            }
        } else {
            Text("Point the camera at something, or choose a photo.").foregroundStyle(.secondary)
        }
    }
}

/// One class: its name, its share as a bar and in figures.
struct ResultRow: View {
    let label: String
    let share: Double
    /// Red, green and blue of the class over the picture.
    var colour: [UInt8]?

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            HStack {
                if let colour { swatch(colour) }
                Text(label).font(.body)
                Spacer()
                Text(share, format: .percent.precision(.fractionLength(1)))
                    .font(.body)
                    .monospacedDigit()
            }
            ProgressView(value: min(max(share, 0), 1))
        }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(label)
        .accessibilityValue(Text(share, format: .percent.precision(.fractionLength(1))))
    }

    private func swatch(_ colour: [UInt8]) -> some View {
        Color(red: Double(colour[0]) / 255, green: Double(colour[1]) / 255, blue: Double(colour[2]) / 255)
            .frame(width: 14, height: 14)
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
