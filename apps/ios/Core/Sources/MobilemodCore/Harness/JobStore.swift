import Foundation

/// Where jobs and records lie: `jobs/ID/` and `records/ID.jsonl` below the app's documents.
public struct JobStore: Sendable {
    public let root: URL

    public init(root: URL) {
        self.root = root
    }

    /// Throws `BadInput` for what is no job id, and where no such job lies here.
    public func open(_ id: String) throws -> JobFolder {
        guard JobPath.isJobID(id) else { throw BadInput("'\(id.prefix(80))' is no job id") }
        let folder = folder(id)
        let jobFolder = JobFolder(url: folder)
        let job = try Job.read(jobFolder.data(Job.fileName))
        guard job.id == id else { throw BadInput("jobs/\(id) holds another job, \(job.shortID)…") }
        return JobFolder(url: folder, job: job)
    }

    public func record(_ id: String) -> URL {
        root.appendingPathComponent("records/\(id).jsonl")
    }

    /// Takes a job's folder away; its record stays.
    func remove(_ id: String) {
        try? FileManager.default.removeItem(at: folder(id))
    }

    private func folder(_ id: String) -> URL {
        root.appendingPathComponent("jobs/\(id)", isDirectory: true)
    }

    /// Ids of the jobs that lie here, sorted.
    public func ids() -> [String] {
        let jobs = root.appendingPathComponent("jobs")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: jobs.path)) ?? []
        return names.filter(JobPath.isJobID).sorted()
    }
}

/// A job's folder, out of which no path leads.
public struct JobFolder: Sendable {
    public let url: URL
    private let opened: Job?

    init(url: URL, job: Job? = nil) {
        self.url = url
        opened = job
    }

    public var job: Job { opened! }

    /// Throws `BadInput` for a path that leads out, by its parts or by a link, or to nothing.
    public func resolve(_ path: String) throws -> URL {
        guard JobPath.isSafe(path) else { throw BadInput("'\(path)' is no path inside the job") }
        let file = url.appendingPathComponent(path)
        guard FileManager.default.fileExists(atPath: file.path) else {
            throw BadInput("\(path) is missing; push the job again")
        }
        let real = file.resolvingSymlinksInPath().path
        guard real.hasPrefix(url.resolvingSymlinksInPath().path + "/") else {
            throw BadInput("\(path) leads out of the job's folder")
        }
        return file
    }

    public func data(_ path: String) throws -> Data {
        let file = try resolve(path)
        do {
            return try Data(contentsOf: file)
        } catch {
            throw BadInput("\(path) can't be read: \(error.localizedDescription)")
        }
    }

    /// Whether a path is of a package that the app's build compiled: the job names the package's hash, which
    /// nothing here has.
    static func isCompiled(_ path: String) -> Bool { path.hasSuffix(".mlmodelc") }

    /// Throws `BadInput` that names the first file whose hash is another than the job's.
    public func checkHashes() throws {
        var all = [job.manifest] + job.golden
        all += job.files.filter { !Self.isCompiled($0.path) }.map { Job.HashedFile(path: $0.path, sha256: $0.sha256) }
        if let path = job.inputs.path, let sha256 = job.inputs.sha256 {
            all.append(Job.HashedFile(path: path, sha256: sha256))
        }
        for item in job.inputs.items {
            if let path = item.path, let sha256 = item.sha256 {
                all.append(Job.HashedFile(path: path, sha256: sha256))
            }
        }
        for file in all where try Hash.of(fileAt: resolve(file.path)) != file.sha256 {
            throw BadInput("\(file.path) is not the file of the job (sha256 differs); push it again")
        }
    }

    /// What the harness holds of this job; nil where it says nothing.
    public func resume() throws -> Resume? {
        let file = url.appendingPathComponent(Resume.fileName)
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        return try Resume.read(data(Resume.fileName))
    }
}
