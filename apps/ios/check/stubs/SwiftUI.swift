@_exported import Foundation
@_exported import Observation
@_exported import UIKit
import UniformTypeIdentifiers

public typealias CGFloat = Foundation.CGFloat

// MARK: Views and their builder

@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder @MainActor @preconcurrency var body: Body { get }
}

extension Never: View { public typealias Body = Never; public var body: Never { fatalError() } }
public protocol Primitive: View where Body == Never {}
extension Primitive { public var body: Never { fatalError() } }

public struct EmptyView: Primitive { public init() {} }
public struct TupleView<T>: Primitive {}
public struct EitherView<A: View, B: View>: Primitive {}
public struct ModifiedView: Primitive { public init() {} }
extension Optional: View where Wrapped: View {
    public typealias Body = Never
    public var body: Never { fatalError() }
}

@resultBuilder public enum ViewBuilder {
    public static func buildExpression<V: View>(_ view: V) -> V { view }
    public static func buildBlock() -> EmptyView { EmptyView() }
    public static func buildBlock<V: View>(_ view: V) -> V { view }
    public static func buildBlock<each V: View>(_ views: repeat each V) -> TupleView<(repeat each V)> { fatalError() }
    public static func buildIf<V: View>(_ view: V?) -> V? { view }
    public static func buildEither<A: View, B: View>(first: A) -> EitherView<A, B> { fatalError() }
    public static func buildEither<A: View, B: View>(second: B) -> EitherView<A, B> { fatalError() }
}

@MainActor @preconcurrency public protocol App {
    associatedtype Body: Scene
    @SceneBuilder @MainActor @preconcurrency var body: Body { get }
    @MainActor @preconcurrency init()
}
extension App { @MainActor public static func main() {} }
@MainActor @preconcurrency public protocol Scene {}
@resultBuilder public enum SceneBuilder {
    public static func buildBlock<S: Scene>(_ scene: S) -> S { scene }
}
public struct WindowGroup<Content: View>: Scene {
    public init(@ViewBuilder content: () -> Content) {}
}

// MARK: Data

@propertyWrapper public struct State<Value> {
    public init(wrappedValue: Value) {}
    public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
    public var projectedValue: Binding<Value> { fatalError() }
}
extension State where Value: ExpressibleByNilLiteral { public init() {} }
extension State: @unchecked Sendable where Value: Sendable {}

@propertyWrapper @dynamicMemberLookup public struct Binding<Value> {
    public init(get: @escaping () -> Value, set: @escaping (Value) -> Void) {}
    public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
    public var projectedValue: Binding<Value> { self }
    public subscript<S>(dynamicMember path: WritableKeyPath<Value, S>) -> Binding<S> { fatalError() }
}

@propertyWrapper @dynamicMemberLookup public struct Bindable<Value> {
    public init(projectedValue: Bindable<Value>) {}
    public var wrappedValue: Value { get { fatalError() } nonmutating set {} }
    public var projectedValue: Bindable<Value> { self }
}
extension Bindable where Value: AnyObject, Value: Observable {
    public init(wrappedValue: Value) { fatalError() }
    public subscript<S>(dynamicMember path: ReferenceWritableKeyPath<Value, S>) -> Binding<S> { fatalError() }
}

@propertyWrapper public struct Environment<Value> {
    public init(_ path: KeyPath<EnvironmentValues, Value>) {}
    public var wrappedValue: Value { fatalError() }
}
extension Environment where Value: AnyObject, Value: Observable { public init(_ type: Value.Type) {} }

public struct EnvironmentValues {
    public var openURL: OpenURLAction { fatalError() }
    public var dismiss: DismissAction { fatalError() }
    public var verticalSizeClass: UserInterfaceSizeClass? { fatalError() }
}
@MainActor @preconcurrency public struct OpenURLAction { public func callAsFunction(_ url: URL) {} }
@MainActor @preconcurrency public struct DismissAction { public func callAsFunction() {} }

// MARK: Text

public protocol FormatSpecifiable {}
extension Double: FormatSpecifiable {}
public struct LocalizedStringKey: ExpressibleByStringInterpolation {
    public init(stringLiteral value: String) {}
    public init(stringInterpolation: StringInterpolation) {}
    public struct StringInterpolation: StringInterpolationProtocol {
        public init(literalCapacity: Int, interpolationCount: Int) {}
        public mutating func appendLiteral(_ literal: String) {}
        public mutating func appendInterpolation(_ string: String) {}
        public mutating func appendInterpolation(_ string: Substring) {}
        public mutating func appendInterpolation(_ value: Int) {}
        public mutating func appendInterpolation<T: FormatSpecifiable>(_ value: T, specifier: String) {}
    }
}

public struct Font: Sendable {
    public static let body = Font()
    public static let footnote = Font()
    public func monospaced() -> Font { self }
}
public struct HierarchicalShapeStyle: ShapeStyle {}
public struct Color: ShapeStyle, Primitive {
    public init(red: Double, green: Double, blue: Double) {}
}
public protocol ShapeStyle {}
extension ShapeStyle where Self == Color {
    public static var red: Color { fatalError() }
    public static var green: Color { fatalError() }
}
extension ShapeStyle where Self == HierarchicalShapeStyle { public static var secondary: HierarchicalShapeStyle { fatalError() } }

public struct Text: Primitive {
    public init(_ key: LocalizedStringKey) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ content: S) {}
    public init<F: FormatStyle>(_ input: F.FormatInput, format: F)
    where F.FormatInput: Equatable, F.FormatOutput == String {}
    public func font(_ font: Font?) -> Text { self }
    public func monospacedDigit() -> Text { self }
}

public struct Label<Title: View, Icon: View>: Primitive {}
public struct Image: Primitive {
    public init(uiImage: UIImage) {}
    public func resizable() -> Image { self }
    public func interpolation(_ interpolation: Interpolation) -> Image { self }
    public enum Interpolation { case none }
}
extension Label where Title == Text, Icon == Image {
    public init(_ key: LocalizedStringKey, systemImage: String) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ title: S, systemImage: String) {}
}

// MARK: Containers and controls

public enum HorizontalAlignment { case leading, center }
public enum VerticalAlignment { case top, center }
public enum Alignment { case leading, center, topTrailing }
public protocol Layout {}
extension Layout { public func callAsFunction<V: View>(@ViewBuilder _ content: () -> V) -> some View { ModifiedView() } }
public struct AnyLayout: Layout { public init<L: Layout>(_ layout: L) {} }
public struct HStackLayout: Layout { public init(alignment: VerticalAlignment = .center, spacing: CGFloat? = nil) {} }
public struct VStackLayout: Layout { public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil) {} }
public struct NavigationStack<Content: View>: Primitive { public init(@ViewBuilder root: () -> Content) {} }
public struct NavigationLink<Label: View, Destination: View>: Primitive {}
extension NavigationLink where Label == Text {
    public init(_ key: LocalizedStringKey, @ViewBuilder destination: () -> Destination) {}
}
public enum UserInterfaceSizeClass: Sendable { case compact, regular }
public struct Axis {
    public struct Set: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        public static let horizontal = Set(rawValue: 1)
        public static let vertical = Set(rawValue: 2)
    }
}
public struct VStack<Content: View>: Primitive {
    public init(alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {}
}
public struct HStack<Content: View>: Primitive {
    public init(alignment: VerticalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content) {}
}
public struct ScrollView<Content: View>: Primitive {
    public init(_ axes: Axis.Set = .vertical, @ViewBuilder content: () -> Content) {}
}
public struct List<Content: View>: Primitive { public init(@ViewBuilder content: () -> Content) {} }
public struct Form<Content: View>: Primitive { public init(@ViewBuilder content: () -> Content) {} }
public struct TabView<Content: View>: Primitive { public init(@ViewBuilder content: () -> Content) {} }
@MainActor public struct GeometryProxy { public var size: CGSize { fatalError() } }
public struct GeometryReader<Content: View>: Primitive {
    public init(@ViewBuilder content: @escaping (GeometryProxy) -> Content) {}
}
public struct Slider<Label: View, ValueLabel: View>: Primitive {
    public init<V: BinaryFloatingPoint>(
        value: Binding<V>, in bounds: ClosedRange<V>, @ViewBuilder label: () -> Label,
        @ViewBuilder minimumValueLabel: () -> ValueLabel, @ViewBuilder maximumValueLabel: () -> ValueLabel
    ) where V.Stride: BinaryFloatingPoint {}
}
public struct Spacer: Primitive { public init() {} }

public struct Section<Header: View, Content: View, Footer: View>: Primitive {}
extension Section where Header == Text, Footer == EmptyView {
    public init(_ key: LocalizedStringKey, @ViewBuilder content: () -> Content) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {}
}
extension Section where Header == EmptyView {
    public init(@ViewBuilder content: () -> Content, @ViewBuilder footer: () -> Footer) {}
}

public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content: View>: Primitive {
    public init(_ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> Content) {}
}
extension ForEach where Data.Element: Identifiable, ID == Data.Element.ID {
    public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content) {}
}

public struct ButtonRole: Sendable { public static let cancel = ButtonRole() }
public struct Button<Label: View>: Primitive {}
extension Button {
    public init(action: @escaping @MainActor () -> Void, @ViewBuilder label: () -> Label) {}
}
extension Button where Label == Text {
    public init(_ key: LocalizedStringKey, action: @escaping @MainActor () -> Void) {}
    public init(_ key: LocalizedStringKey, role: ButtonRole?, action: @escaping @MainActor () -> Void) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ title: S, action: @escaping @MainActor () -> Void) {}
}
public enum Edge { public struct Set: Sendable { public static let horizontal = Set() } }
public struct Toggle<Label: View>: Primitive {}
extension Toggle where Label == Text {
    public init(_ key: LocalizedStringKey, isOn: Binding<Bool>) {}
}
public struct Picker<Label: View, Selection: Hashable, Content: View>: Primitive {}
extension Picker where Label == Text {
    public init(_ key: LocalizedStringKey, selection: Binding<Selection>, @ViewBuilder content: () -> Content) {}
}
public struct Stepper<Label: View>: Primitive {}
extension Stepper where Label == Text {
    public init<V: Strideable>(_ key: LocalizedStringKey, value: Binding<V>, in bounds: ClosedRange<V>) {}
}
public struct ProgressView<Label: View>: Primitive {}
extension ProgressView where Label == EmptyView {
    public init() {}
    public init<V: BinaryFloatingPoint>(value: V?, total: V = 1.0) {}
}
extension ProgressView where Label == Text {
    public init(_ key: LocalizedStringKey) {}
    @_disfavoredOverload public init<S: StringProtocol>(_ title: S) {}
}
public struct LabeledContent<Label: View, Content: View>: Primitive {}
extension LabeledContent where Label == Text {
    public init<S: StringProtocol>(_ title: S, @ViewBuilder content: () -> Content) {}
}
extension LabeledContent where Label == Text, Content == Text {
    public init<S: StringProtocol>(_ key: LocalizedStringKey, value: S) {}
    public init<F: FormatStyle>(_ key: LocalizedStringKey, value: F.FormatInput, format: F)
    where F.FormatInput: Equatable, F.FormatOutput == String {}
}
public protocol Transferable {}
extension Foundation.Data: Transferable {}
extension URL: Transferable {}
extension String: Transferable {}
public struct ShareLink: Primitive {
    public init<T: Transferable>(_ key: LocalizedStringKey, item: T) {}
    public init<C: RandomAccessCollection>(_ key: LocalizedStringKey, items: C) where C.Element == URL {}
}
public struct ContentUnavailableView<L: View, D: View, A: View>: Primitive {
    public init(@ViewBuilder label: () -> L, @ViewBuilder description: () -> D, @ViewBuilder actions: () -> A) {}
}
extension ContentUnavailableView where L == Text, D == Text?, A == EmptyView {
    public init(_ key: LocalizedStringKey, systemImage: String, description: Text? = nil) {}
}

// MARK: Modifiers

public protocol PrimitiveButtonStyle {}
public struct BorderedProminentButtonStyle: PrimitiveButtonStyle {}
extension PrimitiveButtonStyle where Self == BorderedProminentButtonStyle {
    public static var borderedProminent: BorderedProminentButtonStyle { fatalError() }
}
public protocol PickerStyle {}
public struct InlinePickerStyle: PickerStyle {}
extension PickerStyle where Self == InlinePickerStyle { public static var inline: InlinePickerStyle { fatalError() } }
public struct AccessibilityTraits: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let isImage = AccessibilityTraits(rawValue: 1)
}
public enum AccessibilityChildBehavior { case ignore, combine }

extension View {
    public func environment<T: AnyObject & Observable>(_ object: T?) -> some View { ModifiedView() }
    public func task(priority: TaskPriority = .userInitiated, _ action: @escaping @MainActor @Sendable () async -> Void) -> some View { ModifiedView() }
    public func onOpenURL(perform action: @escaping @MainActor (URL) -> Void) -> some View { ModifiedView() }
    public func onDisappear(perform action: (@MainActor () -> Void)? = nil) -> some View { ModifiedView() }
    public func onChange<V: Equatable>(of value: V, initial: Bool = false, _ action: @escaping @MainActor (V, V) -> Void) -> some View { ModifiedView() }
    public func tabItem<V: View>(@ViewBuilder _ label: () -> V) -> some View { ModifiedView() }
    public func tag<V: Hashable>(_ tag: V) -> some View { ModifiedView() }
    public func fullScreenCover<Item: Identifiable, Content: View>(
        item: Binding<Item?>, onDismiss: (() -> Void)? = nil, @ViewBuilder content: @escaping (Item) -> Content
    ) -> some View { ModifiedView() }
    public func padding(_ edges: Edge.Set) -> some View { ModifiedView() }
    public func padding(_ length: CGFloat) -> some View { ModifiedView() }
    public func fileImporter(
        isPresented: Binding<Bool>, allowedContentTypes: [UTType],
        onCompletion: @escaping @MainActor (Result<URL, any Error>) -> Void
    ) -> some View { ModifiedView() }
    public func navigationTitle(_ key: LocalizedStringKey) -> some View { ModifiedView() }
    public func padding() -> some View { ModifiedView() }
    public func frame(maxWidth: CGFloat? = nil, maxHeight: CGFloat? = nil, alignment: Alignment = .center) -> some View { ModifiedView() }
    public func frame(width: CGFloat? = nil, height: CGFloat? = nil, alignment: Alignment = .center) -> some View { ModifiedView() }
    public func position(x: CGFloat = 0, y: CGFloat = 0) -> some View { ModifiedView() }
    public func clipped() -> some View { ModifiedView() }
    public func opacity(_ opacity: Double) -> some View { ModifiedView() }
    public func overlay<V: View>(alignment: Alignment = .center, @ViewBuilder content: () -> V) -> some View { ModifiedView() }
    public func allowsHitTesting(_ enabled: Bool) -> some View { ModifiedView() }
    public func accessibilityHidden(_ hidden: Bool) -> some View { ModifiedView() }
    public func font(_ font: Font?) -> some View { ModifiedView() }
    public func monospacedDigit() -> some View { ModifiedView() }
    public func foregroundStyle<S: ShapeStyle>(_ style: S) -> some View { ModifiedView() }
    public func scaledToFit() -> some View { ModifiedView() }
    public func disabled(_ disabled: Bool) -> some View { ModifiedView() }
    public func buttonStyle<S: PrimitiveButtonStyle>(_ style: S) -> some View { ModifiedView() }
    public func pickerStyle<S: PickerStyle>(_ style: S) -> some View { ModifiedView() }
    public func accessibilityLabel(_ key: LocalizedStringKey) -> some View { ModifiedView() }
    @_disfavoredOverload public func accessibilityLabel<S: StringProtocol>(_ label: S) -> some View { ModifiedView() }
    public func accessibilityValue(_ value: Text) -> some View { ModifiedView() }
    public func accessibilityElement(children: AccessibilityChildBehavior) -> some View { ModifiedView() }
    public func accessibilityAddTraits(_ traits: AccessibilityTraits) -> some View { ModifiedView() }
}

@MainActor @preconcurrency public protocol UIViewRepresentable: View where Body == Never {
    associatedtype UIViewType: UIView
    typealias Context = UIViewRepresentableContext<Self>
    func makeUIView(context: Context) -> UIViewType
    func updateUIView(_ view: UIViewType, context: Context)
}
extension UIViewRepresentable { public var body: Never { fatalError() } }
public struct UIViewRepresentableContext<V: UIViewRepresentable> {}
