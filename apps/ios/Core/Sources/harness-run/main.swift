// A command-line device for the harness: `harness-run ROOT ID` runs the job in ROOT/jobs/ID and adds
// its lines to ROOT/records/ID.jsonl. Images are decoded and models run by the process that started
// it, asked over standard output and answering over standard input (Pipe.swift).
import Foundation
import MobilemodCore

do {
    guard CommandLine.arguments.count == 3 else { throw BadInput("usage: harness-run ROOT ID") }
    let store = JobStore(root: URL(fileURLWithPath: CommandLine.arguments[1], isDirectory: true))
    let id = CommandLine.arguments[2]
    let folder = try store.open(id)
    let runner = try JobRunner(folder: folder, record: store.record(id), device: PipedDevice())
    try await runner.run()
} catch {
    FileHandle.standardError.write(Data("error: \(error.localizedDescription)\n".utf8))
    exit(error is BadInput ? 2 : 3)
}
