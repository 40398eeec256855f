import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { crc32 } from "../../src/core/crc32";
import { toRgb } from "../../src/core/image";
import { decodePng } from "../../src/core/png";
import { draw } from "./vectors";

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
const TYPES = { 1: 0, 2: 4, 3: 2, 4: 6 } as const;

function chunk(type: string, body: Uint8Array): Buffer {
  const named = Buffer.concat([Buffer.from(type, "latin1"), body]);
  const out = Buffer.alloc(named.length + 8);
  out.writeUInt32BE(body.length, 0);
  named.copy(out, 4);
  out.writeUInt32BE(crc32(named), named.length + 4);
  return out;
}

/** A PNG whose rows take turns through all five filters; the data lies in two chunks. */
function encode(data: Uint8Array, width: number, channels: 1 | 2 | 3 | 4, type: number, extra: Buffer[] = []): Buffer {
  const line = width * channels;
  const height = data.length / line;
  const at = (y: number, i: number): number => (y < 0 || i < 0 ? 0 : data[y * line + i]!);
  const raw = Buffer.alloc((line + 1) * height);
  for (let y = 0; y < height; y++) {
    const filter = y % 5;
    raw[y * (line + 1)] = filter;
    for (let i = 0; i < line; i++) {
      const [a, b, c] = [at(y, i - channels), at(y - 1, i), i < channels ? 0 : at(y - 1, i - channels)];
      const p = a + b - c;
      const near = [a, b, c].sort((u, v) => Math.abs(p - u) - Math.abs(p - v))[0]!;
      const guess = [0, a, b, (a + b) >> 1, near][filter]!;
      raw[y * (line + 1) + 1 + i] = data[y * line + i]! - guess;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8;
  header[9] = type;
  const packed = deflateSync(raw);
  const half = packed.length >> 1;
  const parts = [packed.subarray(0, half), packed.subarray(half)].map((part) => chunk("IDAT", part));
  return Buffer.concat([SIGNATURE, chunk("IHDR", header), ...extra, ...parts, chunk("IEND", Buffer.alloc(0))]);
}

test.each([1, 2, 3, 4] as const)("a PNG of %i channels gives its own values", async (channels) => {
  const width = 13;
  const { data } = draw("noise", width, 11, channels as 1 | 3 | 4);
  const decoded = await decodePng(encode(data as Uint8Array, width, channels, TYPES[channels]));
  expect(decoded).toMatchObject({ width, height: 11, channels });
  expect(Buffer.from(decoded!.data).equals(Buffer.from(data))).toBe(true);
});

test("a palette is looked up, and grey with alpha becomes grey", async () => {
  const colours = Buffer.from([255, 0, 0, 0, 255, 0, 1, 2, 3]);
  const indices = Uint8Array.from([0, 1, 2, 2, 1, 0]);
  const decoded = await decodePng(encode(indices, 3, 1, 3, [chunk("PLTE", colours)]));
  expect(Array.from(decoded!.data.subarray(0, 9))).toEqual([255, 0, 0, 0, 255, 0, 1, 2, 3]);
  const grey = { width: 2, height: 1, channels: 2 as const, data: Uint8Array.from([7, 0, 9, 255]) };
  expect(Array.from(toRgb(grey).data)).toEqual([7, 7, 7, 9, 9, 9]);
});

test("what isn't such a PNG is left to the browser", async () => {
  const { data } = draw("ramp", 4, 4, 3);
  const png = encode(data as Uint8Array, 4, 3, 2);
  const deep = Buffer.from(png);
  deep[24] = 16;
  expect(await decodePng(deep)).toBeNull();
  const interlaced = Buffer.from(png);
  interlaced[28] = 1;
  expect(await decodePng(interlaced)).toBeNull();
  expect(await decodePng(encode(data as Uint8Array, 4, 3, 2, [chunk("eXIf", Buffer.alloc(8))]))).toBeNull();
  expect(await decodePng(Buffer.from("GIF89a"))).toBeNull();
  expect(await decodePng(SIGNATURE)).toBeNull();
});

test("damaged data is an error", async () => {
  const { data } = draw("noise", 9, 9, 3);
  const png = encode(data as Uint8Array, 9, 3, 2);
  png.writeUInt32BE(99, 20); // more rows than there are
  await expect(decodePng(png)).rejects.toThrow("cut short");
});
