import MobilemodCore
import PhotosUI
import SwiftUI

/// A photo from the library. The picker runs outside the app, so that no permission is needed.
struct PhotoView: View {
    @Environment(AppModel.self) private var model
    @State private var item: PhotosPickerItem?
    @State private var shown: UIImage?
    @State private var fault: String?

    var body: some View {
        ScrollView {
            VStack(spacing: 16) {
                if let shown {
                    Image(uiImage: shown)
                        .resizable()
                        .scaledToFit()
                        .frame(maxHeight: 360)
                        .accessibilityLabel("Chosen photo")
                }
                PhotosPicker(selection: $item, matching: .images) {
                    Label("Choose a photo", systemImage: "photo.on.rectangle")
                }
                .buttonStyle(.borderedProminent)
                if let fault { Fault(fault) }
                ResultList()
            }
            .padding()
        }
        .onChange(of: item) { _, chosen in
            guard let chosen else { return }
            Task { await classify(chosen) }
        }
    }

    private func classify(_ chosen: PhotosPickerItem) async {
        fault = nil
        do {
            guard let data = try await chosen.loadTransferable(type: Data.self) else {
                throw BadInput("The photo can't be read.")
            }
            shown = UIImage(data: data)
            let image = try await Task.detached { try ImageDecoder.decode(data) }.value
            if let answer = try await model.classifier.classify(image) { model.show(answer) }
        } catch {
            fault = error.localizedDescription
        }
    }
}
