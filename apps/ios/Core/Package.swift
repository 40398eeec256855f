// swift-tools-version:5.10
import PackageDescription

let package = Package(
    name: "MobilemodCore",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "MobilemodCore", targets: ["MobilemodCore"]),
        .executable(name: "preparation-run", targets: ["preparation-run"]),
    ],
    targets: [
        .target(name: "MobilemodCore"),
        // A command-line device: runs a job on this machine, the model in another process.
        .executableTarget(name: "harness-run", dependencies: ["MobilemodCore"]),
        // How long the preparation of an image takes here, for comparisons.
        .executableTarget(name: "preparation-run", dependencies: ["MobilemodCore"]),
        .testTarget(name: "MobilemodCoreTests", dependencies: ["MobilemodCore"]),
    ]
)
