import MobilemodCore
import SwiftUI

/// Which file runs, and on what.
struct SettingsView: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        Form {
            if let bundle = model.bundle {
                Section(bundle.manifest.model) { ModelPickers(bundle: bundle) }
                Section("Bundle") {
                    LabeledContent("Classes", value: bundle.manifest.classCount, format: .number)
                    LabeledContent("Pixels", value: bundle.manifest.preprocess.size.description)
                }
            }
            if case .failed(let message) = model.phase { Fault(message) }
        }
    }
}

/// The choice of file and of what it runs on, one for all screens.
struct ModelPickers: View {
    let bundle: ModelBundle
    @Environment(AppModel.self) private var model

    var body: some View {
        @Bindable var model = model
        Picker("File", selection: $model.file) {
            ForEach(bundle.files, id: \.self) { Text(title($0)).tag(Optional($0)) }
        }
        if model.file.map({ EngineLoader.takesUnits($0.target) }) ?? false {
            Picker("Runs on", selection: $model.units) {
                ForEach(ComputeUnits.allCases) { Text($0.title).tag($0) }
            }
        } else if model.file?.target != EngineLoader.executorchCoreML {
            Stepper("\(model.threads) threads", value: $model.threads,
                    in: 1...ProcessInfo.processInfo.activeProcessorCount)
        }
        if let file = model.file, let warning = bundle.warning(file) { Fault(warning) }
    }

    private func title(_ file: Manifest.ModelFile) -> String {
        let runtimes = [EngineLoader.coreML: "Core ML", EngineLoader.coreAI: "Core AI", EngineLoader.executorchCoreML: "ExecuTorch with Core ML"]
        let runtime = runtimes[file.target] ?? "ExecuTorch"
        return "\(runtime), \(file.precision), \(file.bytes.formatted(.byteCount(style: .file)))"
    }
}
