import MobilemodCore
import SwiftUI

/// Runs a job that the harness has put into Documents/jobs, and writes Documents/records.
struct HarnessView: View {
    let id: String
    @Environment(AppModel.self) private var model
    @Environment(\.dismiss) private var dismiss
    @State private var status = "Starting"
    @State private var fault: String?
    @State private var isDone = false

    var body: some View {
        VStack(spacing: 16) {
            if let fault {
                Fault(fault)
            } else if isDone {
                Label("The job is done.", systemImage: "checkmark.circle")
            } else {
                ProgressView(status)
                Text("Keep the app open.").foregroundStyle(.secondary)
            }
            Text(id.prefix(16)).font(.footnote.monospaced()).foregroundStyle(.secondary)
                .accessibilityLabel("Job \(id.prefix(4))")
            Button(isDone || fault != nil ? "Close" : "Stop") { dismiss() }
        }
        .padding()
        .task { await run() }
        .onDisappear { model.reload() }
    }

    private func run() async {
        UIApplication.shared.isIdleTimerDisabled = true
        defer { UIApplication.shared.isIdleTimerDisabled = false }
        await model.unload()
        let phone = model.phone
        let say: @Sendable (String) -> Void = { text in Task { @MainActor in status = text } }
        let id = id
        let work = Task.detached(priority: .userInitiated) {
            let documents = try FileManager.default.url(
                for: .documentDirectory, in: .userDomainMask, appropriateFor: nil, create: true
            )
            let store = JobStore(root: documents)
            let folder = try store.open(id)
            try await JobRunner(folder: folder, record: store.record(id), device: phone, progress: say).run()
        }
        do {
            try await withTaskCancellationHandler { try await work.value } onCancel: { work.cancel() }
            isDone = true
        } catch is CancellationError {
        } catch {
            fault = error.localizedDescription
        }
    }
}
