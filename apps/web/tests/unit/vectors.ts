/** The vectors that every core runs; tests/vectors/README.md says what they hold. */
import { readFileSync } from "node:fs";
import type { Pixels } from "../../src/core/image";

export function vectors<T>(name: string): T {
  const url = new URL(`../../../../tests/vectors/${name}`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as T;
}

/** An image drawn by one of the formulas. */
export function draw(pattern: string, width: number, height: number, channels: 1 | 3 | 4): Pixels {
  const data = new Uint8Array(width * height * channels);
  let i = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) data[i++] = valueAt(pattern, x, y, c);
    }
  }
  return { width, height, channels, data };
}

function valueAt(pattern: string, x: number, y: number, c: number): number {
  switch (pattern) {
    case "ramp":
      return (3 * x + 5 * y + 40 * c + ((x * y) >> 4)) & 255;
    case "checks":
      return (((x >> 3) + (y >> 3) + c) % 2) * 255;
    case "noise": {
      let h = Math.imul(73856093, x) ^ Math.imul(19349663, y) ^ Math.imul(83492791, c);
      h = Math.imul(h ^ (h >>> 13), 0x5bd1e995);
      return (h ^ (h >>> 15)) & 255;
    }
    default:
      throw new Error(`unknown pattern ${pattern}`);
  }
}
