import { deflateRawSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { crc32 } from "../../src/core/crc32";
import { MAX_ENTRY, zipEntries } from "../../src/core/zip";

interface Made {
  readonly name: string;
  readonly data?: Uint8Array;
  readonly method?: number;
  readonly flags?: number;
  /** What the list of files says of the size. */
  readonly size?: number;
  readonly offset?: number;
}

/** An archive of these files; the local headers have no sizes, as of one that was written as a stream. */
function archive(files: readonly Made[], comment = "", count = files.length): Buffer {
  const bodies: Buffer[] = [];
  const list: Buffer[] = [];
  let at = 0;
  for (const { name, data = Buffer.from(name), method = 8, flags = 0, size = data.length, offset = at } of files) {
    const packed = method === 8 ? deflateRawSync(data) : Buffer.from(data);
    const named = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(named.length, 26);
    local.writeUInt16LE(5, 28);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(flags, 8);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(crc32(data), 16);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(size, 24);
    entry.writeUInt16LE(named.length, 28);
    entry.writeUInt16LE(3, 30);
    entry.writeUInt16LE(2, 32);
    entry.writeUInt32LE(offset, 42);
    bodies.push(local, named, Buffer.from("extra"), packed);
    list.push(entry, named, Buffer.from("abcde"));
    at += 30 + named.length + 5 + packed.length;
  }
  const directory = Buffer.concat(list);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  end.writeUInt16LE(Buffer.byteLength(comment), 20);
  return Buffer.concat([...bodies, directory, end, Buffer.from(comment)]);
}

const read = (bytes: Buffer) => zipEntries(new Blob([new Uint8Array(bytes)]));
const first = async (file: Made): Promise<Uint8Array> => (await read(archive([file])))[0]!.bytes();
const long = Buffer.alloc(300_000, "some text");

test("files stored and deflated come as they were packed, folders are passed over", async () => {
  const files = [
    { name: "d/" }, { name: "d/a.jpg", data: long }, { name: "d/stored.png", data: long, method: 0 }, { name: "d/empty", data: Buffer.alloc(0) },
    { name: "貓/é.jpg" },
  ];
  // A comment that looks like an end of its own.
  const entries = await read(archive(files, "PK\x05\x06 and more of this comment"));
  expect(entries.map(({ name }) => name)).toEqual(["d/a.jpg", "d/stored.png", "d/empty", "貓/é.jpg"]);
  expect(Buffer.from(await entries[0]!.bytes()).equals(long)).toBe(true);
  expect(Buffer.from(await entries[1]!.bytes()).equals(long)).toBe(true);
  expect((await entries[2]!.bytes()).length).toBe(0);
  expect(Buffer.from(await entries[3]!.bytes()).toString()).toBe("貓/é.jpg");
});

describe("what can't be read is one line that says what to do", () => {
  test.each<[string, Made, RegExp]>([
    ["encrypted", { name: "a.jpg", flags: 1 }, /^a\.jpg is encrypted\. Pack the images without a password\.$/],
    ["too large", { name: "a.jpg", size: MAX_ENTRY + 1 }, /^a\.jpg has 67108865 bytes, the most is 67108864\. Leave it out\.$/],
    ["of a size that can't be", { name: "a.jpg", size: MAX_ENTRY }, /^a\.jpg is damaged or cut short$/],
    ["larger than it says", { name: "a.jpg", data: long, size: 10 }, /damaged in the archive/],
    ["shorter than it says", { name: "a.jpg", data: long, size: 300_001 }, /damaged or cut short/],
    ["ZIP64", { name: "a.jpg", size: 0xffffffff }, /ZIP64.* Pack fewer images\.$/],
    ["of another method", { name: "a.jpg", method: 12 }, /packed by method 12/],
    ["beyond the archive", { name: "a.jpg", offset: 1 << 20 }, /damaged in the archive/],
  ])("%s", async (_, file, line) => {
    await expect(first(file)).rejects.toThrow(line);
  });

  test("a changed byte", async () => {
    const bytes = archive([{ name: "a.jpg", data: long, method: 0 }]);
    bytes[1000]! ^= 1;
    await expect(read(bytes).then((entries) => entries[0]!.bytes())).rejects.toThrow("damaged in the archive");
  });

  test("an archive that is none, cut off, in parts, or ZIP64", async () => {
    const whole = archive([{ name: "a.jpg", data: long }, { name: "b.jpg" }]);
    await expect(read(Buffer.from("no archive at all, only text"))).rejects.toThrow("no ZIP archive, or is cut off");
    await expect(read(Buffer.alloc(0))).rejects.toThrow("no ZIP archive, or is cut off");
    await expect(read(whole.subarray(0, -1))).rejects.toThrow("no ZIP archive, or is cut off");
    await expect(read(whole.subarray(100))).rejects.toThrow("list of files is damaged or cut off");
    await expect(read(archive([{ name: "a" }], "", 2))).rejects.toThrow("list of files is damaged or cut off");
    await expect(read(archive([{ name: "a" }], "", 0xffff))).rejects.toThrow("ZIP64");
    const parts = archive([{ name: "a" }]);
    parts.writeUInt16LE(1, parts.length - 22 + 4);
    await expect(read(parts)).rejects.toThrow("one of several parts");
  });
});
