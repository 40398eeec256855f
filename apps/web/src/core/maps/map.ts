/** A map of classes, and what is told of one. */

/** In an answer: no class, for a score wasn't finite. In a truth: not labelled. */
export const NONE = 255;
const CODES = 256;

/** Pixels. */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/** uint8 codes, row by row. */
export interface ClassMap extends Size {
  readonly codes: Uint8Array;
}

export interface Share {
  readonly code: number;
  /** Of the pixels with a class, 0 to 1. */
  readonly share: number;
}

/** Pixels by code, 256 of them. */
export function pixelsOf({ codes }: ClassMap): Uint32Array {
  const counts = new Uint32Array(CODES);
  for (const code of codes) counts[code]!++;
  return counts;
}

/** The classes of a map, most pixels first, of equals the lower code; `NONE` is none. */
export function sharesOf(map: ClassMap): Share[] {
  const counts = pixelsOf(map);
  const all = map.codes.length - counts[NONE]!;
  return Array.from(counts, (pixels, code) => ({ code, share: pixels / all }))
    .filter(({ code, share }) => code !== NONE && share > 0)
    .sort((a, b) => b.share - a.share || a.code - b.code);
}

/** The pixel under each of another size's centres. */
export function laidOn(map: ClassMap, { height, width }: Size): ClassMap {
  const nearest = (i: number, source: number, target: number): number =>
    Math.floor(((2 * i + 1) * source) / (2 * target));
  const columns = Array.from({ length: width }, (_, x) => nearest(x, map.width, width));
  const codes = new Uint8Array(height * width);
  for (let y = 0, i = 0; y < height; y++) {
    const row = nearest(y, map.height, height) * map.width;
    for (const column of columns) codes[i++] = map.codes[row + column]!;
  }
  return { height, width, codes };
}

/** Pixels by [true code][answered code], flat; those that aren't labelled are in none. */
export function confusion(answer: ClassMap, truth: ClassMap): Uint32Array {
  const { codes } = laidOn(answer, truth);
  const found = new Uint32Array(CODES * CODES);
  truth.codes.forEach((code, i) => {
    if (code !== NONE) found[code * CODES + codes[i]!]!++;
  });
  return found;
}

/** Percent: intersection over union, in the mean over the classes with pixels; 0 where none has. */
export function meanIou(confusion: Uint32Array): number {
  let sum = 0;
  let there = 0;
  for (let code = 0; code < NONE; code++) {
    let either = -confusion[code * CODES + code]!;
    for (let other = 0; other < CODES; other++) {
      either += confusion[code * CODES + other]! + confusion[other * CODES + code]!;
    }
    if (either === 0) continue;
    sum += (100 * confusion[code * CODES + code]!) / either;
    there++;
  }
  return sum / Math.max(there, 1);
}

/** Percent of the pixels to which two maps of a size give one class. */
export function alikePercent(a: ClassMap, b: ClassMap): number {
  const alike = a.codes.reduce((sum, code, i) => sum + Number(code !== NONE && code === b.codes[i]), 0);
  return (100 * alike) / a.codes.length;
}
