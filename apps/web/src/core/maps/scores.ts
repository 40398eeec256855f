/** Maps of classes from a network's scores for each class at each pixel. */
import { InputError } from "../errors";
import { NONE, type ClassMap, type Size } from "./map";

/** Whether a file's output has its classes before the rows, or last. */
export type Order = "first" | "last";

/** The order in files of a target. */
export const orderOf = (target: string): Order => (target === "tflite" ? "last" : "first");

/** float32, (classes, height, width) or (height, width, classes). */
export interface Scores extends Size {
  readonly classes: number;
  readonly order: Order;
  readonly values: Float32Array;
}

/** Throws `InputError` where an output has another number of values than the manifest says. */
export function scoresOf(values: Float32Array, map: Size, classes: number, order: Order): Scores {
  const { height, width } = map;
  if (values.length !== classes * height * width) {
    throw new InputError(
      `the model gives ${values.length} values; the manifest says ${classes} classes on ${height} x ${width}`,
    );
  }
  return { height, width, classes, order, values };
}

/**
 * The map that an output itself is, a class for each pixel; `NONE` everywhere where one has none.
 * Throws `InputError` where it is another than the manifest says.
 */
export function mapGiven(values: Float32Array, { height, width }: Size, classes: number): ClassMap {
  if (values.length !== height * width) {
    throw new InputError(
      `the model gives ${values.length} values; the manifest says a map of ${height} x ${width}`,
    );
  }
  const unknown = values.find((v) => !(v < classes || v === NONE));
  if (unknown !== undefined) throw new InputError(`the model gives class ${unknown} of ${classes}`);
  const codes = Uint8Array.from(values);
  return { height, width, codes: codes.includes(NONE) ? codes.fill(NONE) : codes };
}

/** Steps in `values` from one class to the next, and from one pixel to the next. */
function steps({ classes, order, height, width }: Scores): [number, number] {
  return order === "first" ? [height * width, 1] : [1, classes];
}

function isAnswer({ values }: Scores): boolean {
  return values.every(Number.isFinite);
}

/**
 * The class of the largest score, of equal ones the lower; `NONE` everywhere where any score of the
 * image isn't finite.
 */
export function classMap(scores: Scores): ClassMap {
  const { height, width, classes, values } = scores;
  const codes = new Uint8Array(height * width);
  if (!isAnswer(scores)) return { height, width, codes: codes.fill(NONE) };
  const [byClass, byPixel] = steps(scores);
  for (let i = 0; i < codes.length; i++) {
    let at = i * byPixel;
    let best = values[at]!;
    for (let c = 1; c < classes; c++) {
      const value = values[(at += byClass)]!;
      if (value > best) {
        best = value;
        codes[i] = c;
      }
    }
  }
  return { height, width, codes };
}

/** Of each place on an axis its two neighbours, and the second one's share. */
function neighbours(source: number, target: number) {
  const low = new Int32Array(target);
  const high = new Int32Array(target);
  const share = new Float64Array(target);
  for (let i = 0; i < target; i++) {
    const at = Math.max(0, (i + 0.5) * (source / target) - 0.5);
    low[i] = Math.min(Math.floor(at), source - 1);
    high[i] = Math.min(low[i]! + 1, source - 1);
    share[i] = at - low[i]!;
  }
  return { low, high, share };
}

/** One class's scores at another size, float32, bilinear (half-pixel centres, corners not aligned). */
export function enlargedPlane(scores: Scores, index: number, { height, width }: Size): Float32Array {
  const { values } = scores;
  const [byClass, byPixel] = steps(scores);
  const [across, down] = [neighbours(scores.width, width), neighbours(scores.height, height)];
  // The rows are widened first, each once.
  const wide = new Float64Array(scores.height * width);
  for (let y = 0, i = 0; y < scores.height; y++) {
    const begin = index * byClass + y * scores.width * byPixel;
    for (let x = 0; x < width; x++) {
      const [left, right] = [begin + across.low[x]! * byPixel, begin + across.high[x]! * byPixel];
      wide[i++] = values[left]! * (1 - across.share[x]!) + values[right]! * across.share[x]!;
    }
  }
  const found = new Float32Array(height * width);
  for (let y = 0, i = 0; y < height; y++) {
    const [upper, lower, share] = [down.low[y]! * width, down.high[y]! * width, down.share[y]!];
    for (let x = 0; x < width; x++) {
      found[i++] = wide[upper + x]! * (1 - share) + wide[lower + x]! * share;
    }
  }
  return found;
}

/** As `classMap`, of the scores at another size: borders between pixels, not along them. */
export function smoothMap(scores: Scores, size: Size): ClassMap {
  const { height, width } = size;
  const codes = new Uint8Array(height * width);
  if (!isAnswer(scores)) return { height, width, codes: codes.fill(NONE) };
  const best = enlargedPlane(scores, 0, size);
  for (let c = 1; c < scores.classes; c++) {
    const plane = enlargedPlane(scores, c, size);
    for (let i = 0; i < best.length; i++) {
      if (plane[i]! > best[i]!) {
        best[i] = plane[i]!;
        codes[i] = c;
      }
    }
  }
  return { height, width, codes };
}
