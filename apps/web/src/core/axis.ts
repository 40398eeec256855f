/**
 * The weights of Pillow's resize along one axis: antialiased by widening the kernel with the shrinking
 * factor, in fixed point. Method: Pillow's Resample.c and Geometry.c (nearest).
 */
import type { Interpolation } from "./manifest";

const BITS = 22;

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
export interface Axis {
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** Int32 (kept, stride), 22 fractional bits. */
  readonly weights: Int32Array;
  readonly stride: number;
}

/** The axis of `kept` outputs from `from` on, where `source` pixels become `target`. */
export function axisOf(
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
export function rangeOf({ first, count }: Axis): [number, number] {
  const last = first.length - 1;
  return [first[0]!, first[last]! + count[last]!];
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
