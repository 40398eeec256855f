/**
 * A PNG's own values, to the bit. Canvas can't give them: it multiplies alpha in, converts colours,
 * and some browsers add noise to what is read back. Source: the PNG specification (third edition).
 */
import { crc32 } from "./crc32";
import { InputError } from "./errors";
import { orientationOf } from "./exif";
import { orient, type Pixels } from "./image";
import { Inflater } from "./inflate";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS: Readonly<Record<number, 1 | 2 | 3 | 4>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};
const PALETTE = 3;
/** Pillow's limit, above which Python counts an image as damaged too. */
const MAX_PIXELS = 178956970;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly type: number;
  readonly interlaced: boolean;
}

interface Chunks {
  readonly header: Header;
  readonly palette: Uint8Array;
  readonly exif: Uint8Array | null;
  readonly data: Uint8Array[];
}

/** Every `dx`th column from `x` on of every `dy`th row from `y` on. */
interface Pass {
  readonly x: number;
  readonly y: number;
  readonly dx: number;
  readonly dy: number;
}

const WHOLE: readonly Pass[] = [{ x: 0, y: 0, dx: 1, dy: 1 }];
const ADAM7: readonly Pass[] = [
  { x: 0, y: 0, dx: 8, dy: 8 },
  { x: 4, y: 0, dx: 8, dy: 8 },
  { x: 0, y: 4, dx: 4, dy: 8 },
  { x: 2, y: 0, dx: 4, dy: 4 },
  { x: 0, y: 2, dx: 2, dy: 4 },
  { x: 1, y: 0, dx: 2, dy: 2 },
  { x: 0, y: 1, dx: 1, dy: 2 },
];

/**
 * Decodes a PNG of any kind, upright, as Python does: 16 bits a channel become their high byte,
 * transparent colours and gamma are passed over. Null where it is no PNG.
 * Rejects with `InputError` where it is damaged, or too large.
 */
export async function decodePng(bytes: Uint8Array): Promise<Pixels | null> {
  if (!SIGNATURE.every((v, i) => bytes[i] === v)) return null;
  const chunks = readChunks(bytes);
  const image = await decode(chunks);
  return orient(image, chunks.exif === null ? 1 : orientationOf(chunks.exif));
}

function readChunks(bytes: Uint8Array): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data: Uint8Array[] = [];
  let header: Header | null = null;
  let palette: Uint8Array = new Uint8Array(0);
  let exif: Uint8Array | null = null;
  let before = "";
  for (let at = 8; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    const end = at + 8 + length;
    if (type === "IDAT") {
      // Chunks of data that don't follow each other aren't one image's.
      if (data.length === 0 || before === "IDAT") data.push(body);
    } else if (type === "IEND" || end + 4 > bytes.length) break;
    else if (data.length === 0 && crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new InputError(`the PNG is damaged: the check sum of ${type} is wrong`);
    } else if (type === "IHDR") header = readHeader(body);
    else if (type === "PLTE") palette = body;
    else if (type === "eXIf") exif = body;
    before = type;
    at = end + 4;
  }
  if (header === null || data.length === 0) throw new InputError("the PNG is cut off before its image data");
  if (header.type === PALETTE && palette.length < 3) {
    throw new InputError("the PNG has indices into a palette, and no palette");
  }
  return { header, palette, exif, data };
}

function readHeader(body: Uint8Array): Header {
  if (body.length < 13) throw new InputError("the PNG's header is cut off");
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, type, , filtering, interlace] = body.subarray(8) as unknown as number[];
  if (width === 0 || height === 0) throw new InputError("the PNG has no pixels");
  if (width * height > MAX_PIXELS) throw new InputError(`the PNG claims ${width} x ${height} pixels: too many`);
  if (!DEPTHS[type!]?.includes(depth!) || filtering !== 0) {
    throw new InputError(`the PNG's header is damaged: colour type ${type}, ${depth} bits, filter ${filtering}`);
  }
  return { width, height, depth: depth!, type: type!, interlaced: interlace !== 0 };
}

async function decode({ header, palette, data }: Chunks): Promise<Pixels> {
  const { width, height, depth, type } = header;
  const bits = depth * CHANNELS[type]!;
  const passes = (header.interlaced ? ADAM7 : WHOLE).filter((p) => p.x < width && p.y < height);
  const sizes = passes.map((p) => ({
    columns: Math.ceil((width - p.x) / p.dx),
    lines: Math.ceil((height - p.y) / p.dy),
  }));
  const lengths = sizes.map((s) => Math.ceil((s.columns * bits) / 8));
  const inflater = new Inflater(new Blob(data as BlobPart[]), "deflate", "the PNG's image data");
  // Before any memory is taken: a tiny file may claim any size.
  inflater.expect(sizes.reduce((sum, s, i) => sum + s.lines * (1 + lengths[i]!), 0));
  const channels = type === PALETTE ? 3 : CHANNELS[type]!;
  const out = new Uint8Array(width * height * channels);
  const expand = type === PALETTE ? paletteExpander(palette, depth) : expander(depth, channels);
  try {
    for (const [i, pass] of passes.entries()) {
      const { columns, lines } = sizes[i]!;
      const rows = [new Uint8Array(1 + lengths[i]!), new Uint8Array(1 + lengths[i]!)] as const;
      const unfiltered = rows.map((row) => row.subarray(1));
      for (let y = 0; y < lines; y++) {
        const row = rows[y & 1]!;
        if (!inflater.take(row)) await inflater.fill(row);
        const line = unfiltered[y & 1]!;
        unfilter(row[0]!, line, unfiltered[~y & 1]!, Math.max(1, bits >> 3));
        const to = ((pass.y + y * pass.dy) * width + pass.x) * channels;
        expand(line, columns, out, to, pass.dx * channels);
      }
    }
  } finally {
    inflater.close();
  }
  return { width, height, channels, data: out };
}

/** Undoes a row's filter. above: the row before, unfiltered; step: bytes of a pixel. */
function unfilter(filter: number, line: Uint8Array, above: Uint8Array, step: number): void {
  const { length } = line;
  switch (filter) {
    case 0:
      return;
    case 1:
      for (let i = step; i < length; i++) line[i]! += line[i - step]!;
      return;
    case 2:
      for (let i = 0; i < length; i++) line[i]! += above[i]!;
      return;
    case 3:
      for (let i = 0; i < length; i++) line[i]! += ((i < step ? 0 : line[i - step]!) + above[i]!) >> 1;
      return;
    case 4:
      for (let i = 0; i < length; i++) {
        const [a, b, c] = i < step ? [0, above[i]!, 0] : [line[i - step]!, above[i]!, above[i - step]!];
        const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - c - c)];
        line[i]! += pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      }
      return;
    default:
      throw new InputError(`the PNG is damaged: an unknown filter ${filter}`);
  }
}

/** Writes a row's pixels to `out` from `to` on, `step` bytes apart. */
type Expander = (line: Uint8Array, columns: number, out: Uint8Array, to: number, step: number) => void;

function expander(depth: number, channels: number): Expander {
  if (depth < 8) {
    const scale = 255 / ((1 << depth) - 1);
    return (line, columns, out, to, step) => {
      for (let x = 0; x < columns; x++, to += step) out[to] = packed(line, x, depth) * scale;
    };
  }
  const bytes = depth >> 3;
  return (line, columns, out, to, step) => {
    for (let x = 0, from = 0; x < columns; x++, to += step) {
      // Of two bytes the first, which is the high one.
      for (let c = 0; c < channels; c++, from += bytes) out[to + c] = line[from]!;
    }
  };
}

/** Indices beyond the palette are black, as in Pillow. */
function paletteExpander(palette: Uint8Array, depth: number): Expander {
  const colours = new Uint8Array(3 * 256);
  colours.set(palette.subarray(0, colours.length));
  return (line, columns, out, to, step) => {
    for (let x = 0; x < columns; x++, to += step) {
      const from = 3 * packed(line, x, depth);
      for (let c = 0; c < 3; c++) out[to + c] = colours[from + c]!;
    }
  };
}

/** The xth value of `depth` bits, 1 to 8. */
function packed(line: Uint8Array, x: number, depth: number): number {
  const bit = x * depth;
  return (line[bit >> 3]! >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}
