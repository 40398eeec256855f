import MobilemodCore
import SwiftUI

/// What the camera sees, and what the model says of it as it runs.
struct LiveView: View {
    @Environment(AppModel.self) private var model
    @Environment(\.openURL) private var openURL
    @State private var access: CameraFeed.Access?
    @State private var feed: CameraFeed?
    /// Kept while another screen is looked at, where one file runs alone.
    @State private var compares = false

    var body: some View {
        Beside {
            picture
        } beside: {
            VStack(spacing: 0) {
                ResultList()
                LiveComparison(isOn: $compares)
            }
        }
        .onChange(of: compares) { _, compares in model.compares = compares }
        .task {
            model.look(at: .camera)
            model.compares = compares
            access = await CameraFeed.access()
            guard access == .allowed else { return }
            let feed = self.feed ?? makeFeed()
            self.feed = feed
            if model.job == nil { feed.start() }
        }
        // A job that lies over this view must have the processor to itself.
        .onChange(of: model.job?.id) { _, job in
            if job == nil { feed?.start() } else { feed?.stop() }
        }
        .onDisappear {
            feed?.stop()
            model.compares = false
        }
    }

    @ViewBuilder private var picture: some View {
        switch access {
        case .allowed?:
            if let feed {
                CameraPreview(capture: feed.capture)
                    .accessibilityLabel("Camera picture")
                    .accessibilityAddTraits(.isImage)
                    .overlay {
                        if let segmented = model.answer?.segmented {
                            MapOverlay(segmented: segmented, fills: true, opacity: model.opacity)
                        }
                    }
                    .overlay(alignment: .topTrailing) {
                        Button("Other camera") { feed.turn() }.buttonStyle(.borderedProminent).padding()
                    }
                    .overlay {
                        if let trouble = feed.trouble {
                            ContentUnavailableView {
                                Label("No picture", systemImage: "camera.fill")
                            } description: {
                                Text(trouble)
                            } actions: {
                                Button("Try again") { feed.resume() }
                            }
                        }
                    }
            }
        case .denied?: denied
        case .noCamera?: ContentUnavailableView("No camera here", systemImage: "camera.fill",
                                                description: Text("Choose a photo instead."))
        case nil: ProgressView().frame(maxHeight: .infinity)
        }
    }

    private var denied: some View {
        ContentUnavailableView {
            Label("No access to the camera", systemImage: "camera.fill")
        } description: {
            Text("Allow it in the settings, or choose a photo instead.")
        } actions: {
            Button("Open settings") {
                if let url = URL(string: UIApplication.openSettingsURLString) { openURL(url) }
            }
        }
    }

    private func makeFeed() -> CameraFeed {
        let model = model
        let classifier = model.classifier
        return CameraFeed(frames: classifier.queue) { image in
            let result = Result { try classifier.classifyOnQueue(image, smooth: false) }
            Task { @MainActor in
                switch result {
                case .success(let answer?): model.show(answer, of: .camera)
                case .success(nil): break
                case .failure(let error): model.show(error)
                }
            }
        }
    }
}
