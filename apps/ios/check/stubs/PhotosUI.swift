@_exported import SwiftUI

public struct PHPickerFilter: Sendable { public static var images: PHPickerFilter { fatalError() } }
public struct PhotosPickerItem: Equatable, Sendable {
    public func loadTransferable<T: Transferable & Sendable>(type: T.Type) async throws -> T? { nil }
}
public struct PhotosPicker<Label: View>: Primitive {
    public init(selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter? = nil, @ViewBuilder label: () -> Label) {}
}
