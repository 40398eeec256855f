import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { labelledFiles, spread } from "../../src/core/folder";
import { parseJob } from "../../src/core/job";
import { localJob } from "../../src/core/local_job";
import type { Manifest } from "../../src/core/manifest";

const LABELS = [
  { id: "n01440764", label: "tench" },
  { id: "n02102040", label: "English springer" },
];
const names = (paths: string[]): [string, number][] =>
  labelledFiles(paths, (path) => path, LABELS).map(({ name, target }) => [name, target]);

test("classes are folders by id or label; val is taken before train; what is no image is left out", () => {
  expect(names(["d/english_springer/b.PNG", "d/n01440764/a.jpg", "d/n01440764/notes.txt", "d/x/a.jpg"])).toEqual([
    ["english_springer/b.PNG", 1],
    ["n01440764/a.jpg", 0],
  ]);
  expect(names(["d/train/tench/a.jpg", "d/val/tench/b.jpg"])).toEqual([["tench/b.jpg", 0]]);
  expect(() => names(["d/cats/a.jpg"])).toThrow("n01440764, n02102040");
});

test("a part is spread over all", () => {
  expect(spread([0, 1, 2, 3, 4, 5], 3)).toEqual([0, 2, 4]);
  expect(spread([0, 1], 5)).toEqual([0, 1]);
});

test("a job of the device's own has the id that its contents give", () => {
  const manifest = { model: "ä" } as Manifest;
  const file = { file: "a.tflite", target: "tflite", precision: "int8", sha256: "1".repeat(64), bytes: 3 };
  const item = { name: "tench/ä.jpg", path: "inputs/000000", sha256: "2".repeat(64), target: 0 };
  const text = localJob(manifest, "3".repeat(64), [file], [item], [{ path: "golden/0.png", sha256: "4".repeat(64) }]);
  const { id, ...rest } = JSON.parse(text);
  const sort = (v: unknown): unknown =>
    v !== null && typeof v === "object" && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort().map(([k, w]) => [k, sort(w)]))
      : Array.isArray(v) ? v.map(sort) : v;
  expect(id).toBe(createHash("sha256").update(JSON.stringify(sort(rest))).digest("hex"));
  expect(parseJob(text)).toMatchObject({ accuracy: true, latency: null, inputs: { count: 1 }, golden: [{ path: "golden/0.png" }] });
});
