import { expect, test } from "vitest";
import { curve, sustained } from "../../src/core/benchmark";
import { checkLogits, checkPixels, outputStep, tolerance } from "../../src/core/selftest";
import { draw } from "./vectors";

const STEP = 0.03125;
const expected = [
  [0, 3 * STEP, -5 * STEP, 40 * STEP],
  [STEP, 2 * STEP, 9 * STEP, -STEP + 0.00001],
];

test("the tolerance is five steps of an int8 output, and none of a float one", () => {
  expect(outputStep(expected)).toBeCloseTo(STEP, 4);
  expect(outputStep([[1, 1]])).toBe(0);
  expect(tolerance(expected, "int8")).toBeCloseTo(0.001 + 5 * STEP, 4);
  expect(tolerance(expected, "float32")).toBe(0.001);
});

test("logits pass within it and fail beyond", () => {
  const allowed = tolerance(expected, "int8");
  const off = (by: number): number[] => expected[0]!.map((v, c) => (c === 0 ? v + by : v));
  expect(checkLogits(off(5 * STEP), expected[0]!, allowed).passed).toBe(true);
  expect(checkLogits(off(6 * STEP), expected[0]!, allowed).passed).toBe(false);
  expect(checkLogits(off(60 * STEP), expected[0]!, allowed).text).toContain("another class wins");
  expect(checkLogits([1, 2], expected[0]!, allowed)).toMatchObject({ passed: false });
  expect(checkLogits(off(NaN), expected[0]!, allowed).passed).toBe(false);
});

test("a fault in reading an image is named", () => {
  const own = draw("noise", 20, 10, 3);
  const changed = (value: (v: number, i: number, all: Uint8Array) => number) => ({
    ...own,
    data: Uint8Array.from(own.data as Uint8Array, (v, i) => value(v, i, own.data as Uint8Array)),
  });
  expect(checkPixels(own, own)).toEqual({ passed: true, text: "pixels are exact" });
  expect(checkPixels(changed((v) => Math.min(255, v + 1)), own).passed).toBe(true);
  const swapped = changed((_, i, all) => all[i - (i % 3) + 2 - (i % 3)]!);
  expect(checkPixels(swapped, own)).toMatchObject({ passed: false, text: "the colour channels are swapped" });
  expect(checkPixels(changed((v) => 255 - v), own).text).toContain("colours are converted");
  expect(checkPixels({ ...own, width: 10, height: 20 }, own).text).toContain("turned");
});

test("a run that gets slower shows how much", () => {
  const at = Array.from({ length: 100 }, (_, i) => i / 10);
  const ms = at.map((t) => (t < 5 ? 10 : 15));
  expect(sustained({ at, ms }, 2)!.loss_percent).toBeCloseTo(50);
  expect(sustained({ at, ms }, 6)).toBeNull();
  const medians = curve({ at, ms }, 4);
  expect([medians[0], medians[3]]).toEqual([10, 15]);
  expect(curve({ at: [0], ms: [7] }, 3)[0]).toBe(7);
});
