import SwiftUI

/// What is looked at once, not all the time; each screen leads back here.
struct ChecksView: View {
    var body: some View {
        NavigationStack {
            List {
                NavigationLink("Self-test") { SelfTestView().navigationTitle("Self-test") }
                NavigationLink("Benchmark") { BenchmarkView().navigationTitle("Benchmark") }
                NavigationLink("Accuracy") { AccuracyView().navigationTitle("Accuracy") }
                NavigationLink("Compute plan") { ComputePlanView().navigationTitle("Compute plan") }
            }
            .navigationTitle("Checks")
        }
    }
}
