import Foundation

/// A stream of lines on disk, added to and never rewritten.
public final class RecordFile {
    private let handle: FileHandle

    /// Opens the record for adding, making it where there is none. A last line that was cut off
    /// gets its line feed, so that the next line stands alone. Throws what the file system throws.
    public init(_ url: URL) throws {
        let manager = FileManager.default
        try manager.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true
        )
        if !manager.fileExists(atPath: url.path) {
            guard manager.createFile(atPath: url.path, contents: nil) else {
                throw BadInput("\(url.lastPathComponent) can't be written; is the disk full?")
            }
        }
        handle = try FileHandle(forUpdating: url)
        let end = try handle.seekToEnd()
        if end > 0 {
            try handle.seek(toOffset: end - 1)
            let last = try handle.read(upToCount: 1)
            if last != Data([0x0A]) { try handle.write(contentsOf: Data([0x0A])) }
        }
    }

    /// Adds a line and its line feed. Throws what writing throws, a full disk say.
    public func add(_ line: String) throws {
        try handle.write(contentsOf: Data((line + "\n").utf8))
    }

    /// Waits until what was added is on the disk.
    public func flush() throws {
        try handle.synchronize()
    }

    /// Calls `body` with each line of a record, without its line feed; longer ones than the protocol
    /// allows are passed over. A file that isn't there has none.
    public static func forEachLine(of url: URL, _ body: ([UInt8]) -> Void) throws {
        guard FileManager.default.fileExists(atPath: url.path) else { return }
        let handle = try FileHandle(forReadingFrom: url)
        defer { try? handle.close() }
        var rest: [UInt8] = []
        while let block = try handle.read(upToCount: 1 << 20), !block.isEmpty {
            var start = block.startIndex
            while let end = block[start...].firstIndex(of: 0x0A) {
                body(rest + block[start..<end])
                rest = []
                start = block.index(after: end)
            }
            if rest.count <= Line.maxBytes { rest += block[start...] }
        }
        if !rest.isEmpty { body(rest) }
    }
}
