/**
 * A PNG's own values, to the bit. Canvas can't give them: it multiplies alpha in, converts colours,
 * and some browsers add noise to what is read back. Source: the PNG specification (third edition).
 */
import type { Pixels } from "./image";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS: Readonly<Record<number, 1 | 2 | 3 | 4>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const PALETTE = 3;

/**
 * Decodes a PNG of 8 bits a channel, not interlaced, without EXIF; null for anything else, which is
 * the browser's to decode. Throws where the image data is damaged.
 */
export async function decodePng(bytes: Uint8Array): Promise<Pixels | null> {
  if (!SIGNATURE.every((v, i) => bytes[i] === v)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data: Uint8Array[] = [];
  let header: { width: number; height: number; type: number } | null = null;
  let palette: Uint8Array | null = null;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") {
      const [depth, , , , interlaced] = body.subarray(8);
      if (depth !== 8 || interlaced !== 0 || !(body[9]! in CHANNELS)) return null;
      header = { width: view.getUint32(at + 8), height: view.getUint32(at + 12), type: body[9]! };
    } else if (type === "PLTE") palette = body;
    else if (type === "eXIf") return null;
    else if (type === "IDAT") data.push(body);
    else if (type === "IEND") break;
    at += 12 + length;
  }
  if (header === null || (header.type === PALETTE && palette === null)) return null;
  const { width, height, type } = header;
  const channels = CHANNELS[type]!;
  const values = unfilter(await inflate(data), width * channels, height, channels);
  if (type === PALETTE) return lookUp(values, palette!, width, height);
  return { width, height, channels, data: values };
}

async function inflate(parts: Uint8Array[]): Promise<Uint8Array> {
  const stream = new Blob(parts as BlobPart[]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undoes the filters of each row. line: bytes of a row; step: bytes of a pixel. */
function unfilter(raw: Uint8Array, line: number, height: number, step: number): Uint8Array {
  if (raw.length < (line + 1) * height) throw new Error("the PNG's image data is cut short");
  const out = new Uint8Array(line * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (line + 1)]!;
    const from = y * (line + 1) + 1;
    const to = y * line;
    for (let i = 0; i < line; i++) {
      const left = i >= step ? out[to + i - step]! : 0;
      const up = y > 0 ? out[to + i - line]! : 0;
      const corner = i >= step && y > 0 ? out[to + i - line - step]! : 0;
      out[to + i] = raw[from + i]! + predict(filter, left, up, corner);
    }
  }
  return out;
}

function predict(filter: number, left: number, up: number, corner: number): number {
  switch (filter) {
    case 0:
      return 0;
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    case 4: {
      const estimate = left + up - corner;
      const [a, b, c] = [left, up, corner].map((v) => Math.abs(estimate - v)) as [number, number, number];
      if (a <= b && a <= c) return left;
      return b <= c ? up : corner;
    }
    default:
      throw new Error(`the PNG has an unknown filter ${filter}`);
  }
}

function lookUp(indices: Uint8Array, palette: Uint8Array, width: number, height: number): Pixels {
  const out = new Uint8Array(indices.length * 3);
  indices.forEach((index, i) => out.set(palette.subarray(index * 3, index * 3 + 3), i * 3));
  return { width, height, channels: 3, data: out };
}
