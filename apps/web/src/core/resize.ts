/**
 * Pillow's resize, to the bit: antialiased by widening the kernel with the shrinking factor, weights
 * in fixed point, horizontal pass first, each pass rounded to 8 bits. Only the rows and columns that
 * a crop keeps are computed. Method: Pillow's Resample.c and Geometry.c (nearest).
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

function weightsOf(source: number, target: number, from: number, kept: number, kernel: Kernel): Axis {
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
 * `rectangle` of `image` (three channels) resized to `width` x `height`.
 * The result equals resizing the whole and cropping then.
 */
export function resizeAndCrop(
  image: Pixels,
  width: number,
  height: number,
  rectangle: Rectangle,
  interpolation: Interpolation,
): Pixels {
  if (interpolation === "nearest") return nearest(image, width, height, rectangle);
  const kernel = interpolation === "bilinear" ? bilinear : bicubic;
  const rows =
    height === image.height
      ? null
      : weightsOf(image.height, height, rectangle.top, rectangle.height, kernel);
  // The source rows that the vertical pass reads.
  let top = rectangle.top;
  let bottom = rectangle.top + rectangle.height;
  if (rows !== null) {
    const last = rectangle.height - 1;
    top = rows.first[0]!;
    bottom = rows.first[last]! + rows.count[last]!;
  }
  const columns =
    width === image.width
      ? null
      : weightsOf(image.width, width, rectangle.left, rectangle.width, kernel);
  const middle =
    columns === null
      ? cut(image, { ...rectangle, top, height: bottom - top })
      : horizontal(image, columns, rectangle.width, top, bottom - top);
  const data = rows === null ? middle : vertical(middle, rows, rectangle.width, top);
  return { width: rectangle.width, height: rectangle.height, channels: 3, data };
}

function horizontal(image: Pixels, axis: Axis, width: number, top: number, height: number): Uint8Array {
  const { data } = image;
  const { first, count, weights, stride } = axis;
  const out = new Uint8Array(width * height * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    const row = (top + y) * image.width * 3;
    for (let x = 0; x < width; x++) {
      let [r, g, b] = [HALF, HALF, HALF];
      let from = row + first[x]! * 3;
      const end = x * stride + count[x]!;
      for (let k = x * stride; k < end; k++, from += 3) {
        const w = weights[k]!;
        r += data[from]! * w;
        g += data[from + 1]! * w;
        b += data[from + 2]! * w;
      }
      out[to] = clip8(r);
      out[to + 1] = clip8(g);
      out[to + 2] = clip8(b);
      to += 3;
    }
  }
  return out;
}

/** data: uint8 (rows, width, 3) whose first row is the source's row `top`. */
function vertical(data: Uint8Array, axis: Axis, width: number, top: number): Uint8Array {
  const { first, count, weights, stride } = axis;
  const line = width * 3;
  const out = new Uint8Array(first.length * line);
  const sums = new Float64Array(line);
  for (let y = 0; y < first.length; y++) {
    sums.fill(HALF);
    for (let k = 0; k < count[y]!; k++) {
      const w = weights[y * stride + k]!;
      const from = (first[y]! + k - top) * line;
      for (let i = 0; i < line; i++) sums[i]! += data[from + i]! * w;
    }
    for (let i = 0; i < line; i++) out[y * line + i] = clip8(sums[i]!);
  }
  return out;
}

function nearest(image: Pixels, width: number, height: number, rectangle: Rectangle): Pixels {
  const columns = positions(image.width, width, rectangle.left, rectangle.width);
  const rows = positions(image.height, height, rectangle.top, rectangle.height);
  const out = new Uint8Array(rectangle.width * rectangle.height * 3);
  let to = 0;
  for (const y of rows) {
    for (const x of columns) {
      const from = (y * image.width + x) * 3;
      for (let c = 0; c < 3; c++) out[to++] = image.data[from + c]!;
    }
  }
  return { width: rectangle.width, height: rectangle.height, channels: 3, data: out };
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

function cut(image: Pixels, { left, top, width, height }: Rectangle): Uint8Array {
  const out = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * 3;
    out.set(image.data.subarray(from, from + width * 3), y * width * 3);
  }
  return out;
}
