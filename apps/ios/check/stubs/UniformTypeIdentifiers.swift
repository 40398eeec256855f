import Foundation

// = UTTypeFolder
public struct UTType: Sendable { public static var folder: UTType { fatalError() } }

extension URL {
    // = NSURL.startAccessingSecurityScopedResource
    public func startAccessingSecurityScopedResource() -> Bool { false }
    // = NSURL.stopAccessingSecurityScopedResource
    public func stopAccessingSecurityScopedResource() {}
}
