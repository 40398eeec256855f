/**
 * Pillow's resize, to the bit: antialiased by widening the kernel with the shrinking factor, weights
 * in fixed point, two passes, each rounded to 8 bits. Only the rows and columns that a crop keeps are
 * computed. Method: Pillow's Resample.c and Geometry.c (nearest).
 */
import type { Pixels } from "./image";
import type { Interpolation } from "./manifest";

const BITS = 22;
const HALF = 1 << (BITS - 1);

interface Kernel {
  readonly support: number;
  readonly weight: (x: number) => number;
}

const bilinear: Kernel = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };

const bicubic: Kernel = {
  support: 2,
  weight(x) {
    const a = -0.5;
    const d = Math.abs(x);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
    return 0;
  },
};

/** One axis: for each kept output position, its first source position and its weights. */
interface Axis {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** Int32 (kept, stride), 22 fractional bits. */
  readonly weights: Int32Array;
  readonly stride: number;
}

/** The axis of `kept` outputs from `from` on, where `source` pixels become `target`. */
function axisOf(
  source: number,
  target: number,
  from: number,
  kept: number,
  interpolation: Interpolation,
): Axis {
  if (interpolation === "nearest") return ofSingle(positions(source, target, from, kept));
  if (source === target) return ofSingle(Int32Array.from({ length: kept }, (_, i) => from + i));
  const kernel = interpolation === "bilinear" ? bilinear : bicubic;
  const scale = source / target;
  const shrink = Math.max(1, scale);
  const support = kernel.support * shrink;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(kept);
  const count = new Int32Array(kept);
  const weights = new Int32Array(kept * stride);
  const inverse = 1 / shrink;
  const row = new Float64Array(stride);
  for (let i = 0; i < kept; i++) {
    const centre = (from + i + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(source, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let k = 0; k < end - begin; k++) {
      row[k] = kernel.weight((k + begin - centre + 0.5) * inverse);
      sum += row[k]!;
    }
    first[i] = begin;
    count[i] = end - begin;
    for (let k = 0; k < end - begin; k++) {
      const w = (sum === 0 ? row[k]! : row[k]! / sum) * (1 << BITS);
      weights[i * stride + k] = Math.trunc(w < 0 ? w - 0.5 : w + 0.5);
    }
  }
  return { first, count, weights, stride };
}

/** Each output is one source pixel. */
function ofSingle(first: Int32Array): Axis {
  const ones = new Int32Array(first.length).fill(1);
  return { first, count: ones, weights: ones.map((one) => one << BITS), stride: 1 };
}

/** The source positions that an axis reads: from the first to before the last. */
function rangeOf({ first, count }: Axis): [number, number] {
  const last = first.length - 1;
  return [first[0]!, first[last]! + count[last]!];
}

function clip8(sum: number): number {
  const value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** A rectangle of the resized image, in pixels. */
export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * `rectangle` of `image` resized to `width` x `height`, as three channels: grey is repeated, alpha is
 * dropped. The result equals resizing the whole and cropping then.
 */
export function resizeAndCrop(
  image: Pixels,
  width: number,
  height: number,
  rectangle: Rectangle,
  interpolation: Interpolation,
): Pixels {
  const rows = axisOf(image.height, height, rectangle.top, rectangle.height, interpolation);
  const columns = axisOf(image.width, width, rectangle.left, rectangle.width, interpolation);
  const [top, bottom] = rangeOf(rows);
  const [left, right] = rangeOf(columns);
  // Pillow's order, which shows in the last bit.
  if (image.height - height > Math.max(0, 2 * (image.width - width))) {
    return horizontal(vertical(image, rows, 0, left, right - left), columns, left, 0, rectangle.height);
  }
  return vertical(horizontal(image, columns, 0, top, bottom - top), rows, top, 0, rectangle.width);
}

/** Where the three colours of a pixel lie. */
function coloursOf(image: Pixels): [number, number, number] {
  return image.channels <= 2 ? [0, 0, 0] : [0, 1, 2];
}

/** Rows `top` to `top + height`. shift: the whole's column that is the first of `image`. */
function horizontal(image: Pixels, axis: Axis, shift: number, top: number, height: number): Pixels {
  const { data, channels } = image;
  const { first, count, weights, stride } = axis;
  const [, green, blue] = coloursOf(image);
  const width = first.length;
  const out = new Uint8Array(width * height * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    const row = (top + y) * image.width;
    for (let x = 0; x < width; x++) {
      let [r, g, b] = [HALF, HALF, HALF];
      let from = (row + first[x]! - shift) * channels;
      const end = x * stride + count[x]!;
      for (let k = x * stride; k < end; k++, from += channels) {
        const w = weights[k]!;
        r += data[from]! * w;
        g += data[from + green]! * w;
        b += data[from + blue]! * w;
      }
      out[to] = clip8(r);
      out[to + 1] = clip8(g);
      out[to + 2] = clip8(b);
      to += 3;
    }
  }
  return { width, height, channels: 3, data: out };
}

/** Columns `left` to `left + width`. shift: the whole's row that is the first of `image`. */
function vertical(image: Pixels, axis: Axis, shift: number, left: number, width: number): Pixels {
  const { data, channels } = image;
  const { first, count, weights, stride } = axis;
  const colours = coloursOf(image);
  const height = first.length;
  const line = width * 3;
  const out = new Uint8Array(height * line);
  const sums = new Float64Array(line);
  for (let y = 0; y < height; y++) {
    sums.fill(HALF);
    for (let k = 0; k < count[y]!; k++) {
      const w = weights[y * stride + k]!;
      const row = ((first[y]! + k - shift) * image.width + left) * channels;
      if (channels === 3) {
        for (let i = 0; i < line; i++) sums[i]! += data[row + i]! * w;
        continue;
      }
      for (let c = 0; c < 3; c++) {
        let from = row + colours[c]!;
        for (let i = c; i < line; i += 3, from += channels) sums[i]! += data[from]! * w;
      }
    }
    for (let i = 0; i < line; i++) out[y * line + i] = clip8(sums[i]!);
  }
  return { width, height, channels: 3, data: out };
}

/** Nearest source positions; the position is added up step by step, as Pillow does. */
function positions(source: number, target: number, from: number, kept: number): Int32Array {
  const step = source / target;
  const out = new Int32Array(kept);
  let at = step * 0.5;
  for (let i = 0; i < from + kept; i++, at += step) {
    if (i >= from) out[i - from] = Math.min(Math.trunc(at), source - 1);
  }
  return out;
}
