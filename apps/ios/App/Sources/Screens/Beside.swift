import SwiftUI

/// A picture with what is said of it: below it, or to its right where the screen is low.
struct Beside<Picture: View, Words: View>: View {
    @ViewBuilder let picture: () -> Picture
    @ViewBuilder let beside: () -> Words
    @Environment(\.verticalSizeClass) private var height

    var body: some View {
        // One layout of two kinds, so that turning the phone makes no new camera.
        let isLow = height == .compact
        let layout = isLow ? AnyLayout(HStackLayout()) : AnyLayout(VStackLayout(spacing: 0))
        layout {
            picture().frame(maxWidth: .infinity, maxHeight: .infinity)
            ScrollView { beside() }.frame(maxWidth: isLow ? 360 : .infinity, maxHeight: isLow ? .infinity : 300)
        }
    }
}
