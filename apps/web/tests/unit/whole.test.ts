import { expect, test } from "vitest";
import { ticks } from "../../src/core/benchmark";
import { Progress, type Job } from "../../src/core/job";
import { LineWriter } from "../../src/core/protocol";
import { Whole } from "../../src/core/whole";

const ID = "0".repeat(64);
const hashed = { path: "x", sha256: "x" };
const JOB: Job = {
  id: ID,
  model: "m",
  manifest: hashed,
  files: [{ ...hashed, name: "a.tflite", target: "tflite", precision: "int8", twin: null }],
  inputs: { kind: "images", count: 4, items: [hashed, hashed, hashed, hashed] },
  golden: [],
  configurations: [{ file: "a.tflite", threads: 1, delegate: "wasm", selfTestOnly: false }],
  accuracy: true,
  latency: { warmUpSeconds: 1, warmUpMax: 10, minRuns: 10, minSeconds: 10, coldStarts: 1 },
  sustainedSeconds: 0,
  logits: false,
};

test("a whole job's share only grows, to one, over all phases, and its end has results", () => {
  const whole = new Whole(JOB, new Progress(JOB), 100);
  let now = 100;
  const lines = new LineWriter(ID, "1".repeat(16), () => now - 100, (line) => whole.add(line));
  expect(whole.at(now)).toEqual({ share: 0, secondsLeft: null });
  const shares: number[] = [];
  const emit = (type: string, values: object): void => {
    now += 1;
    lines.emit(type, { configuration: 0, ...values });
    shares.push(whole.at(now).share);
  };
  emit("finished", { phase: "golden" });
  for (let image = 0; image < 4; image++) emit("image", { image, top: [] });
  emit("finished", { phase: "accuracy" });
  emit("times", { phase: "warm-up", ms: [5], at: [0] });
  emit("times", { phase: "steady", ms: [3000, 3001, 3002], at: [0, 0, 0] });
  const { share, secondsLeft } = whole.at(now);
  expect(share).toBeGreaterThan(0.5);
  expect(share).toBeLessThan(1);
  expect(secondsLeft).toBeCloseTo(((now - 100) * (1 - share)) / share);
  emit("finished", { phase: "latency" });
  expect(shares).toEqual([...shares].sort((a, b) => a - b));
  expect(shares.at(-1)).toBe(1);
  expect(whole.results()).toEqual(["a.tflite, 1 thread: p50 3001.0 ms over 3 runs, 4 images answered"]);
});

test("ticks are round and within the chart", () => {
  expect(ticks(36.8)).toEqual([10, 20, 30]);
  expect(ticks(1.15)).toEqual([0.5, 1]);
  expect(ticks(500)).toEqual([200, 400]);
  expect(ticks(10)).toEqual([5, 10]);
});
