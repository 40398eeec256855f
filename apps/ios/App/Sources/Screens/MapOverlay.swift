import MobilemodCore
import SwiftUI

/// A map of classes in colours over a picture in the same place. The GPU enlarges the map, each of its
/// pixels to a block: between two classes there is no third colour.
struct MapOverlay: View {
    let segmented: Segmented
    /// Whether the picture fills the place and is cut, or is shown whole in its middle.
    let fills: Bool
    let opacity: Double

    var body: some View {
        GeometryReader { place in
            if let picture = segmented.picture {
                let part = part(in: place.size)
                Image(uiImage: picture)
                    .resizable()
                    .interpolation(.none)
                    .frame(width: part.width, height: part.height)
                    .position(x: part.midX, y: part.midY)
            }
        }
        .clipped()
        .opacity(opacity)
        .allowsHitTesting(false)
        .accessibilityHidden(true)
    }

    /// Where the map lies.
    private func part(in place: CGSize) -> CGRect {
        let across = place.width / CGFloat(segmented.imageWidth)
        let down = place.height / CGFloat(segmented.imageHeight)
        let scale = fills ? max(across, down) : min(across, down)
        let width = CGFloat(segmented.imageWidth) * scale, height = CGFloat(segmented.imageHeight) * scale
        let window = segmented.window
        return CGRect(
            x: (place.width - width) / 2 + window.left * width, y: (place.height - height) / 2 + window.top * height,
            width: window.width * width, height: window.height * height
        )
    }
}

/// How strong the colours over the picture are; nothing where the model gives no maps.
struct OpacitySlider: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        @Bindable var model = model
        if model.bundle?.manifest.map != nil {
            Slider(value: $model.opacity, in: 0...1) {
                Text("Colours")
            } minimumValueLabel: {
                Text("Colours")
            } maximumValueLabel: {
                Text(model.opacity, format: .percent.precision(.fractionLength(0)))
            }
            .font(.footnote)
        }
    }
}
