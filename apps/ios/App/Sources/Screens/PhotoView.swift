import MobilemodCore
import PhotosUI
import SwiftUI

/// A photo from the library. The picker runs outside the app, so that no permission is needed.
struct PhotoView: View {
    @Environment(AppModel.self) private var model
    @State private var item: PhotosPickerItem?
    @State private var shown: UIImage?
    @State private var pixels: PixelImage?
    @State private var fault: String?

    var body: some View {
        ScrollView {
            VStack(spacing: 16) {
                // Above the picture, which may fill the screen.
                ResultList()
                if let shown {
                    Image(uiImage: shown)
                        .resizable()
                        .scaledToFit()
                        .accessibilityLabel("Chosen photo")
                        .overlay {
                            if let segmented = model.answer?.segmented {
                                MapOverlay(segmented: segmented, fills: false, opacity: model.opacity)
                            }
                        }
                        .frame(maxHeight: 360)
                }
                PhotosPicker(selection: $item, matching: .images) {
                    Label("Choose a photo", systemImage: "photo.on.rectangle")
                }
                .buttonStyle(.borderedProminent)
                if let bundle = model.bundle {
                    Samples(bundle: bundle) { path in
                        item = nil
                        Task { await show(bundle.picture(path)) { try bundle.golden(path) } }
                    }
                }
                if let pixels { Comparison(pixels: pixels) }
                if let fault { Fault(fault) }
            }
            .padding()
        }
        .onChange(of: item) { _, chosen in
            guard let chosen else { return }
            Task { await open(chosen) }
        }
        // Anew where another screen was looked at, or with another file.
        .task { await look() }
        .onChange(of: model.phase) { _, phase in
            if phase == .ready { Task { await look() } }
        }
    }

    private func open(_ chosen: PhotosPickerItem) async {
        fault = nil
        pixels = nil
        shown = nil
        model.look(at: nil)
        do {
            guard let data = try await chosen.loadTransferable(type: Data.self) else {
                throw BadInput("The photo can't be read.")
            }
            if chosen != item { return }
            shown = UIImage(data: data)
            let image = try await Task.detached { try ImageDecoder.decode(data) }.value
            if chosen != item { return }
            pixels = image
            await look()
        } catch {
            if chosen == item { fault = error.localizedDescription }
        }
    }

    /// A sample of the bundle.
    private func show(_ picture: UIImage?, _ decode: () throws -> PixelImage) async {
        fault = nil
        model.look(at: nil)
        shown = picture
        do {
            pixels = try decode()
            await look()
        } catch {
            pixels = nil
            fault = error.localizedDescription
        }
    }

    private func look() async {
        guard let pixels else { return model.look(at: nil) }
        let source = model.lookAtPhoto()
        do {
            if let answer = try await model.classifier.classify(pixels) { model.show(answer, of: source) }
        } catch {
            fault = error.localizedDescription
        }
    }
}
