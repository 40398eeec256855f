import Foundation

/// What of a job was already done, by the device's own stream and by what the harness holds.
public struct Remaining: Equatable, Sendable {
    private var answered: [String: Set<Int>] = [:]
    private var finished: Set<Resume.Finished> = []
    private let job: Job

    public init(job: Job) {
        self.job = job
    }

    /// Takes what the harness holds; of another job, nothing.
    public mutating func add(_ resume: Resume) {
        guard resume.job == job.id else { return }
        for (file, ranges) in resume.answered {
            for range in ranges where range.count == 2 && range[0] <= range[1] {
                let within = max(range[0], 0)...max(min(range[1], job.inputs.count - 1), 0)
                if range[0] < job.inputs.count, range[1] >= 0 { answered[file, default: []].formUnion(within) }
            }
        }
        finished.formUnion(resume.finished)
    }

    /// Takes one line of the device's own stream; damaged ones and another job's are passed over.
    public mutating func add(line: [UInt8]) {
        guard let value = Line.decode(line), value["job"]?.string == job.shortID,
              let type = value["type"]?.string
        else { return }
        switch type {
        case "image":
            if let index = value["configuration"]?.int, job.configurations.indices.contains(index),
               let image = value["image"]?.int {
                answered[job.configurations[index].file, default: []].insert(image)
            }
        case "unreadable":
            if let image = value["image"]?.int {
                for file in job.files { answered[file.name, default: []].insert(image) }
            }
        case "unavailable":
            if let index = value["configuration"]?.int, job.configurations.indices.contains(index) {
                addUnavailable(index)
            }
        case "finished":
            if let index = value["configuration"]?.int, let phase = value["phase"]?.string {
                finished.insert(Resume.Finished(configuration: index, phase: phase))
            }
        default:
            break
        }
    }

    /// A configuration that can't be run here: nothing more of it is asked for.
    private mutating func addUnavailable(_ index: Int) {
        for phase in ["golden", "accuracy", "latency", "sustained"] {
            finished.insert(Resume.Finished(configuration: index, phase: phase))
        }
        let file = job.configurations[index].file
        if job.firstMeasured(file) == index { answered[file] = Set(0..<job.inputs.count) }
    }

    /// Input indices that a file hasn't answered, ascending.
    public func images(of file: String) -> [Int] {
        let done = answered[file] ?? []
        return (0..<job.inputs.count).filter { !done.contains($0) }
    }

    /// Accuracy isn't, whatever was said, while an answer is missing: its line may be damaged.
    public func isFinished(_ configuration: Int, _ phase: String) -> Bool {
        finished.contains(Resume.Finished(configuration: configuration, phase: phase))
            && (phase != "accuracy" || images(of: job.configurations[configuration].file).isEmpty)
    }
}
