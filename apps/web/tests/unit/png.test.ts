import { deflateSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { crc32 } from "../../src/core/crc32";
import { InputError } from "../../src/core/errors";
import { toRgb } from "../../src/core/image";
import { parsePreprocess } from "../../src/core/manifest";
import { decodePng } from "../../src/core/png";
import { preprocessPixels } from "../../src/core/preprocess";
import { draw, vectors } from "./vectors";

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

interface Case {
  name: string;
  png: string;
  width: number;
  height: number;
  rgb: string;
  damaged?: true;
}

const { cases } = vectors<{ cases: Case[] }>("png.json");

describe("a PNG is read as Python reads it", () => {
  test.each(cases.map((c) => [c.name, c] as const))("%s", async (_, c) => {
    const png = new Uint8Array(Buffer.from(c.png, "base64"));
    if (c.damaged) return expect(decodePng(png)).rejects.toThrow(InputError);
    const image = toRgb((await decodePng(png))!);
    expect([image.width, image.height]).toEqual([c.width, c.height]);
    expect(Buffer.from(image.data).equals(Buffer.from(c.rgb, "base64"))).toBe(true);
  });
});

test("more rows than the data holds, and a header that says so without its check sum", async () => {
  const { data } = draw("noise", 9, 9, 3);
  const png = encode(data as Uint8Array, 9, 3, 2);
  png.writeUInt32BE(99, 20);
  await expect(decodePng(png)).rejects.toThrow("check sum of IHDR");
  png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
  await expect(decodePng(png)).rejects.toThrow("cut short");
});

test("other files are left to the browser", async () => {
  expect(await decodePng(Buffer.from("GIF89a"))).toBeNull();
  expect(await decodePng(Buffer.alloc(0))).toBeNull();
});

test("EXIF that can't be read leaves the image as it is", async () => {
  const { data } = draw("ramp", 4, 3, 3);
  const orientation = (type: number, value: number): number[] =>
    [0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, type, 0, 1, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0];
  const turned = { exif: orientation(3, 6), long: orientation(4, 8) };
  for (const exif of [[], [1, 2, 3], orientation(3, 9), orientation(2, 6), turned.exif.slice(0, 18)]) {
    const png = encode(data as Uint8Array, 4, 3, 2, [chunk("eXIf", Uint8Array.from(exif))]);
    expect(await decodePng(png)).toMatchObject({ width: 4, height: 3 });
  }
  for (const exif of [turned.exif, turned.long, [69, 120, 105, 102, 0, 0, ...turned.exif]]) {
    const png = encode(data as Uint8Array, 4, 3, 2, [chunk("eXIf", Uint8Array.from(exif))]);
    expect(await decodePng(png)).toMatchObject({ width: 3, height: 4 });
  }
});

test("data that inflates to more than the image is not inflated further", async () => {
  const small = encode(new Uint8Array(8), 4, 1, 0);
  const png = Buffer.concat([small.subarray(0, 33), chunk("IDAT", deflateSync(Buffer.alloc(256 << 20)))]);
  const before = process.memoryUsage().rss;
  expect(await decodePng(png)).toMatchObject({ width: 4, height: 2 });
  expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20);
});

test("a tiny file of one long row takes what its pixels take", async () => {
  const png = encode(new Uint8Array(60000), 60000, 1, 0);
  expect(png.length).toBeLessThan(200);
  const numbers = { size: 224, crop_fraction: 0.9, mean: [0, 0, 0], std: [1, 1, 1] };
  const spec = parsePreprocess({ ...numbers, interpolation: "bicubic", color: "RGB", layout: "NCHW" });
  const before = process.memoryUsage().rss;
  expect(preprocessPixels((await decodePng(png))!, spec).data.every((v) => v === 0)).toBe(true);
  expect(process.memoryUsage().rss - before).toBeLessThan(200 << 20);
});
