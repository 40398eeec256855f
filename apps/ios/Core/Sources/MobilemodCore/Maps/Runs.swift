import Foundation

/// A map's rows as the lengths of its runs: class, count, class, count, …
public enum Runs {
    public static func of(_ map: ClassMap) -> [Int] {
        var runs: [Int] = []
        for (i, code) in map.codes.enumerated() {
            if i > 0, code == map.codes[i - 1] {
                runs[runs.count - 1] += 1
            } else {
                runs += [Int(code), 1]
            }
        }
        return runs
    }

    /// Throws `BadInput` that names `place` for what aren't the runs of a map of that size.
    public static func read(_ runs: [Int], _ size: MapSize, _ place: String = "runs") throws -> ClassMap {
        func wrong(_ what: String) -> BadInput { BadInput("\(place): \(what)") }
        guard runs.count % 2 == 0 else { throw wrong("a class or a count lacks its other") }
        var codes: [UInt8] = []
        codes.reserveCapacity(size.pixels)
        for i in stride(from: 0, to: runs.count, by: 2) {
            let (code, count) = (runs[i], runs[i + 1])
            guard (0...255).contains(code) else { throw wrong("\(code) is no class") }
            guard count >= 1 else { throw wrong("\(count) is no count") }
            guard i == 0 || code != runs[i - 2] else { throw wrong("class \(code) follows itself") }
            guard count <= size.pixels - codes.count else { throw wrong("more than \(size.pixels) pixels") }
            codes += repeatElement(UInt8(code), count: count)
        }
        guard codes.count == size.pixels else { throw wrong("\(codes.count) pixels of \(size.pixels)") }
        return ClassMap(size, codes)
    }
}
