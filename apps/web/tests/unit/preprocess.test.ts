import { describe, expect, test } from "vitest";
import { orient } from "../../src/core/image";
import { parsePreprocess } from "../../src/core/manifest";
import { normalize, preprocessPixels, roundHalfEven } from "../../src/core/preprocess";
import { draw, vectors } from "./vectors";

interface Case {
  name: string;
  width: number;
  height: number;
  channels: 1 | 3 | 4;
  pattern: string;
  orientation: number;
  preprocess: unknown;
  pixels: string;
  tensor: [number, number][];
}

const { cases } = vectors<{ cases: Case[] }>("preprocess.json");

describe("preprocessing equals Python's", () => {
  test.each(cases.map((c) => [c.name, c] as const))("%s", (_, c) => {
    const spec = parsePreprocess(c.preprocess);
    const drawn = draw(c.pattern, c.width, c.height, c.channels);
    const pixels = preprocessPixels(orient(drawn, c.orientation), spec);
    expect([pixels.width, pixels.height]).toEqual([spec.width, spec.height]);
    // The limit is one step; this core's values are Pillow's own.
    expect(Buffer.from(pixels.data).equals(Buffer.from(c.pixels, "base64"))).toBe(true);
    const tensor = normalize(pixels, spec);
    for (const [index, value] of c.tensor) expect(Math.abs(tensor[index]! - value)).toBeLessThan(1e-6);
  });
});

test("halves round to even", () => {
  expect([0.5, 1.5, 2.5, 2.4999, 2.5001, 3].map(roundHalfEven)).toEqual([0, 2, 2, 2, 3, 3]);
});

test("a preprocessing that the core doesn't know is refused", () => {
  const spec = cases[0]!.preprocess as Record<string, unknown>;
  expect(() => parsePreprocess({ ...spec, gamma: 2 })).toThrow('unknown key "gamma"');
  expect(() => parsePreprocess({ ...spec, interpolation: "lanczos" })).toThrow("lanczos");
  for (const size of [15, "32", [32], [32, 15], [32, 32.5], [32, 32, 32], null]) {
    expect(() => parsePreprocess({ ...spec, size })).toThrow("at least 16");
  }
  expect(() => parsePreprocess({ ...spec, fit: "squash" })).toThrow('"squash" is not crop, stretch or letterbox');
  expect(() => parsePreprocess({ ...spec, color: "BGR" })).toThrow("not RGB");
  expect(() => parsePreprocess({ ...spec, mean: [1, 2] })).toThrow("three numbers");
});
