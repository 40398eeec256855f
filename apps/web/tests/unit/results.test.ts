import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { sha256, sha256OfFloats } from "../../src/core/sha256";
import { percentile, summary, warmedUp, Window } from "../../src/core/statistics";
import { softmax, topK } from "../../src/core/topk";
import { vectors } from "./vectors";

interface TopK {
  logits: (number | null)[];
  k: number;
  top: [number, number][];
  sha256: string | null;
}

test("top-k and the logits' hash equal Python's", () => {
  for (const c of vectors<{ cases: TopK[] }>("top_k.json").cases) {
    const logits = Float32Array.from(c.logits, (v) => v ?? NaN);
    const top = topK(logits, c.k);
    expect(top.map(([index]) => index)).toEqual(c.top.map(([index]) => index));
    top.forEach(([, value], i) => expect(value).toBeCloseTo(c.top[i]![1], 6));
    if (c.sha256 !== null) expect(sha256OfFloats(logits)).toBe(c.sha256);
  }
});

test("probabilities sum to one and leave out what isn't finite", () => {
  const p = softmax([1, NaN, 3, -Infinity, 1000]);
  expect(p.reduce((a, b) => a + b)).toBeCloseTo(1);
  expect([p[1], p[3]]).toEqual([0, 0]);
  expect(p[4]).toBeCloseTo(1);
});

interface Statistics {
  percentiles: ({ values: number[] } & Record<"p50" | "p90" | "p99" | "min" | "max" | "mean", number>)[];
  warm_up: { milliseconds: number[]; max: number; runs: number | null }[];
}

test("statistics equal Python's", () => {
  const { percentiles, warm_up } = vectors<Statistics>("statistics.json");
  for (const { values, mean, ...rest } of percentiles) {
    const { runs, mean: ours, ...found } = summary(values);
    expect(found).toEqual(rest);
    expect(runs).toBe(values.length);
    expect(ours).toBeCloseTo(mean, 9);
  }
  for (const { milliseconds, max, runs } of warm_up) {
    const ends = milliseconds.findIndex((_, i) => warmedUp(milliseconds.slice(0, i + 1), max));
    expect(ends < 0 ? null : ends + 1).toBe(runs);
  }
});

test("a window keeps the last values only", () => {
  const window = new Window(3);
  for (const value of [100, 1, 2, 3]) window.push(value);
  expect([window.length, window.percentile(100)]).toEqual([3, 3]);
  expect(percentile([], 50)).toBeNaN();
});

test("sha256 equals Node's at every length around a block", () => {
  for (const length of [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) & 255);
    expect(sha256(bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
  }
});
