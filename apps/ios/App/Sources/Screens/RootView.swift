import SwiftUI

/// The app's tabs; a job that was asked for lies over them.
struct RootView: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        @Bindable var model = model
        TabView {
            LiveView().tabItem { Label("Camera", systemImage: "camera") }
            PhotoView().tabItem { Label("Photo", systemImage: "photo") }
            ChecksView().tabItem { Label("Checks", systemImage: "checkmark.seal") }
            SettingsView().tabItem { Label("Model", systemImage: "slider.horizontal.3") }
        }
        .fullScreenCover(item: $model.job) { HarnessView(id: $0.id) }
    }
}
