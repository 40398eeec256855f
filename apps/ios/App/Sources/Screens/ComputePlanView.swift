import MobilemodCore
import SwiftUI

/// Which processors Core ML would run the chosen file's ops on.
struct ComputePlanView: View {
    @Environment(AppModel.self) private var model
    @State private var counts: [(unit: String, ops: Int)] = []
    @State private var said: String?

    var body: some View {
        List {
            ForEach(counts, id: \.unit) { count in LabeledContent(count.unit) { Text(count.ops, format: .number) } }
            if let said { Text(said) }
        }
        .task { await read() }
    }

    private func read() async {
        said = nil
        do {
            guard let engine = try await model.classifier.withEngine({ $0 }) else {
                said = "No model is loaded."
                return
            }
            let placed = try await engine.placed ?? [:]
            counts = placed.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
            if counts.isEmpty { said = "Core ML tells it from iOS 17.4 on, of its own files, where more than the CPU may run them." }
        } catch {
            said = error.localizedDescription
        }
    }
}
