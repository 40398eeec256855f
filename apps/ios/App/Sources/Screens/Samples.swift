import MobilemodCore
import SwiftUI

/// The bundle's golden images, to be tapped.
struct Samples: View {
    let bundle: ModelBundle
    let choose: @MainActor (String) -> Void

    var body: some View {
        ScrollView(.horizontal) {
            HStack {
                ForEach(bundle.manifest.golden.map(\.image), id: \.self) { path in
                    Button {
                        choose(path)
                    } label: {
                        Thumbnail(picture: bundle.picture(path))
                    }
                    .accessibilityLabel("Sample \(path)")
                }
            }
        }
    }
}

/// A small picture; nothing where there is none.
struct Thumbnail: View {
    let picture: UIImage?

    var body: some View {
        if let picture {
            Image(uiImage: picture).resizable().scaledToFit().frame(width: 64, height: 64)
        }
    }
}
