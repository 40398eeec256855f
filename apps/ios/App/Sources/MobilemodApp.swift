import SwiftUI

@main
struct MobilemodApp: App {
    @State private var model = AppModel()

    var body: some Scene {
        WindowGroup {
            RootView()
                .environment(model)
                .task {
                    model.readArguments(ProcessInfo.processInfo.arguments)
                    model.start()
                }
                .onOpenURL { model.open($0) }
        }
    }
}
