/** Judges a self-test: does the runtime compute what it should, and does the app feed it right? */
import type { Pixels } from "./image";
import { alikePercent, confusion, meanIou, type ClassMap } from "./maps/map";
import { topK } from "./topk";

const FLOAT_TOLERANCE = 1e-3;
const STEPS = 5;
/** Percent of a map's pixels that may have another class: at borders a rounding decides. */
const OTHER_PIXELS = 3;
const CHANNEL_ORDERS = [
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/**
 * The output's quantization step as the logits show it: the least distance between two different
 * ones, 0 of equal ones. The manifest has five decimals, which may part equal ones a little.
 */
export function outputStep(lists: readonly (readonly number[])[]): number {
  const sorted = lists.flat().sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((v, i) => v - sorted[i]!);
  const step = Math.min(...gaps.filter((gap) => gap > 1e-4));
  return Number.isFinite(step) ? step : 0;
}

/** How far logits may be from the manifest's: five steps of an int8 output, else 0.001. */
export function tolerance(expected: readonly (readonly number[])[], precision: string): number {
  return FLOAT_TOLERANCE + (precision === "int8" ? STEPS * outputStep(expected) : 0);
}

export interface Check {
  readonly passed: boolean;
  readonly text: string;
}

/** The runtime's logits beside the manifest's. */
export function checkLogits(
  got: ArrayLike<number>,
  expected: readonly number[],
  allowed: number,
): Check {
  if (got.length !== expected.length) {
    return { passed: false, text: `${got.length} logits; the manifest has ${expected.length}` };
  }
  const largest = Math.max(...expected.map((v, c) => Math.abs(v - got[c]!)));
  if (Number.isNaN(largest)) return { passed: false, text: "a logit is not a number" };
  const [ours, theirs] = [topK(got, 1)[0]?.[0], topK(expected, 1)[0]?.[0]];
  const passed = largest <= allowed;
  const difference = `largest difference ${largest.toFixed(4)}, allowed ${allowed.toFixed(4)}`;
  return { passed, text: passed || ours === theirs ? difference : `${difference}, another class wins` };
}

/** The runtime's map beside the manifest's, of one size. */
export function checkMap(got: ClassMap, expected: ClassMap): Check {
  const alike = alikePercent(got, expected);
  const passed = alike >= 100 - OTHER_PIXELS;
  const iou = meanIou(confusion(got, expected)).toFixed(1);
  const text = `${alike.toFixed(2)} % of the pixels alike, ${100 - OTHER_PIXELS} % needed; mIoU ${iou} %`;
  return { passed, text };
}

/**
 * What the app reads from an image (three channels) beside the image's own values; within one step
 * of 8 bits it passes. Says which fault it is where it is a known one.
 */
export function checkPixels(read: Pixels, own: Pixels): Check {
  if (read.width !== own.width || read.height !== own.height) {
    const turned = read.width === own.height && read.height === own.width;
    const size = `${read.width} x ${read.height} instead of ${own.width} x ${own.height}`;
    return { passed: false, text: `the image is read as ${size}${turned ? ": turned" : ""}` };
  }
  const largest = largestDifference(read, own, [0, 1, 2]);
  if (largest <= 1) {
    return { passed: true, text: largest === 0 ? "pixels are exact" : "pixels within one step" };
  }
  const order = CHANNEL_ORDERS.find((o) => largestDifference(read, own, o) <= 1);
  const text =
    order !== undefined
      ? "the colour channels are swapped"
      : `pixels differ by up to ${largest} of 255: colours are converted, or noise is added`;
  return { passed: false, text };
}

function largestDifference(a: Pixels, b: Pixels, order: readonly [number, number, number]): number {
  let largest = 0;
  for (let i = 0; i < b.data.length; i += 3) {
    for (let c = 0; c < 3; c++) {
      largest = Math.max(largest, Math.abs(a.data[i + c]! - b.data[i + order[c]!]!));
    }
  }
  return largest;
}
