import Foundation

/// Height and width of a map, pixels.
public struct MapSize: Equatable, Sendable {
    public let height: Int
    public let width: Int

    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }

    public var pixels: Int { height * width }
}

extension MapSize: Codable {
    /// `[height, width]`, each at least 1.
    public init(from decoder: Decoder) throws {
        let sides = try decoder.singleValueContainer().decode([Int].self)
        guard sides.count == 2, sides.allSatisfy({ (1...4096).contains($0) }) else {
            throw BadInput("map \(sides): must be height and width, from 1 to 4096")
        }
        self.init(height: sides[0], width: sides[1])
    }

    public func encode(to encoder: Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode([height, width])
    }
}

/// A map of classes: uint8 codes, row by row.
public struct ClassMap: Equatable, Sendable {
    /// In an answer: no class, for a score wasn't finite. In a truth: not labelled.
    public static let none: UInt8 = 255

    /// A class and its share of the pixels with a class, 0 to 1.
    public struct Share: Equatable, Sendable {
        public let code: Int
        public let share: Double
    }

    public let size: MapSize
    public let codes: [UInt8]

    /// codes: as many as the size has pixels.
    public init(_ size: MapSize, _ codes: [UInt8]) {
        precondition(codes.count == size.pixels)
        self.size = size
        self.codes = codes
    }

    /// The classes, most pixels first, of equals the lower code; `none` is none.
    public func shares() -> [Share] {
        var counts = [Int](repeating: 0, count: 256)
        for code in codes { counts[Int(code)] += 1 }
        let all = codes.count - counts[Int(ClassMap.none)]
        return (0..<255).filter { counts[$0] > 0 }
            .sorted { counts[$0] == counts[$1] ? $0 < $1 : counts[$0] > counts[$1] }
            .map { Share(code: $0, share: Double(counts[$0]) / Double(all)) }
    }

    /// The pixel under each of another size's centres.
    public func laid(on other: MapSize) -> ClassMap {
        func nearest(_ at: Int, _ source: Int, _ target: Int) -> Int { (2 * at + 1) * source / (2 * target) }
        let columns = (0..<other.width).map { nearest($0, size.width, other.width) }
        var found: [UInt8] = []
        found.reserveCapacity(other.pixels)
        for y in 0..<other.height {
            let row = nearest(y, size.height, other.height) * size.width
            for column in columns { found.append(codes[row + column]) }
        }
        return ClassMap(other, found)
    }

    /// Percent of the pixels to which a map of the same size gives the same class.
    public func alikePercent(_ other: ClassMap) -> Double {
        let alike = zip(codes, other.codes).reduce(0) { $1.0 != ClassMap.none && $1.0 == $1.1 ? $0 + 1 : $0 }
        return 100 * Double(alike) / Double(codes.count)
    }

    /// Of the codes' bytes.
    public func sha256() -> String { Hash.of(codes) }
}

/// Pixels by true and answered code of one or more maps.
public struct Confusion: Sendable {
    private var counts = [Int](repeating: 0, count: 256 * 256)

    public init() {}

    public subscript(truth: Int, answer: Int) -> Int { counts[truth << 8 | answer] }

    /// Counts `answer`, laid on `truth`; pixels that aren't labelled are left out.
    public mutating func add(_ answer: ClassMap, _ truth: ClassMap) {
        for (code, found) in zip(truth.codes, answer.laid(on: truth.size).codes) where code != ClassMap.none {
            counts[Int(code) << 8 | Int(found)] += 1
        }
    }

    /// Percent: intersection over union, in the mean over the classes with pixels; 0 where none has.
    public func meanIoU() -> Double {
        let each = (0..<255).compactMap { code -> Double? in
            let either = (0..<256).reduce(-self[code, code]) { $0 + self[code, $1] + self[$1, code] }
            return either == 0 ? nil : 100 * Double(self[code, code]) / Double(either)
        }
        return each.isEmpty ? 0 : each.reduce(0, +) / Double(each.count)
    }
}
