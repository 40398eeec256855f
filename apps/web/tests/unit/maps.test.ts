/** Maps of classes are Python's, pixel by pixel. */
import { expect, test } from "vitest";
import { goldenAnswer } from "../../src/core/answers";
import { alikePercent, confusion, laidOn, meanIou, sharesOf, type ClassMap } from "../../src/core/maps/map";
import { colourOf } from "../../src/core/maps/palette";
import { fromRuns, toRuns } from "../../src/core/maps/runs";
import { classMap, enlargedPlane, mapGiven, scoresOf, smoothMap, type Order } from "../../src/core/maps/scores";
import { windowOf, withoutBars } from "../../src/core/maps/window";
import { parsePreprocess } from "../../src/core/manifest";
import { vectors } from "./vectors";

interface Sized {
  height: number;
  width: number;
  codes: number[];
}

interface ScoresCase extends Sized {
  name: string;
  classes: number;
  order: Order;
  scores: (number | null)[];
}

interface Enlarged {
  classes: number;
  height: number;
  width: number;
  scores: number[];
  values: number[];
  map: Sized;
}

interface Vectors {
  scores: ScoresCase[];
  runs: { good: { codes: number[]; runs: number[] }[]; broken: { runs: number[]; pixels: number }[] };
  palette: number[];
  nearest: { map: Sized; laid: Sized }[];
  enlarged: Enlarged[];
  compared: { answer: Sized; truth: Sized; pixels: [number, number, number][]; mean_iou: number }[];
}

const found = vectors<Vectors>("segments.json");
const mapOf = ({ height, width, codes }: Sized): ClassMap => ({ height, width, codes: Uint8Array.from(codes) });
const row = (codes: number[]): ClassMap => mapOf({ height: 1, width: codes.length, codes });

test.each(found.scores.map((one) => [one.name, one] as const))("scores: %s", (_, one) => {
  const values = Float32Array.from(one.scores, (v) => v ?? NaN);
  expect(classMap(scoresOf(values, one, one.classes, one.order))).toEqual(mapOf(one));
});

test("an infinite score is no answer, and a wrong number of them an error", () => {
  const size = { height: 1, width: 2 };
  const values = Float32Array.of(1, -Infinity, 3, 4);
  expect([...classMap(scoresOf(values, size, 2, "last")).codes]).toEqual([255, 255]);
  expect([...smoothMap(scoresOf(values, size, 2, "last"), size).codes]).toEqual([255, 255]);
  expect(() => scoresOf(values, size, 3, "last")).toThrow("4 values; the manifest says 3 classes on 1 x 2");
});

test("a map that a file gives is taken as it is, and nothing else for one", () => {
  const size = { height: 1, width: 3 };
  expect(mapGiven(Float32Array.of(2, 0, 1), size, 3)).toEqual(row([2, 0, 1]));
  // Where one pixel has no largest score, the image has no answer.
  expect(mapGiven(Float32Array.of(2, 255, 1), size, 3)).toEqual(row([255, 255, 255]));
  expect(() => mapGiven(Float32Array.of(2, 0), size, 3)).toThrow("2 values; the manifest says a map of 1 x 3");
  expect(() => mapGiven(Float32Array.of(2, 3, 0), size, 3)).toThrow("class 3 of 3");
  expect(() => mapGiven(Float32Array.of(2, NaN, 0), size, 3)).toThrow("class NaN of 3");
  const outputs = { map: size, givesClasses: true, labels: ["a", "b", "c"].map((id) => ({ id, label: id })) };
  expect(goldenAnswer(outputs, "tflite", Float32Array.of(1, 1, 2))).toEqual({ runs: [1, 2, 2, 1] });
});

test("runs are written and read alike, broken ones refused", () => {
  for (const { codes, runs } of found.runs.good) {
    expect(toRuns(row(codes))).toEqual(runs);
    expect(fromRuns(runs, row(codes))).toEqual(row(codes));
  }
  for (const { runs, pixels } of found.runs.broken) {
    expect(() => fromRuns(runs, { height: 1, width: pixels }), String(runs)).toThrow("no runs of a map");
  }
  expect(() => fromRuns([0.5, 4], { height: 2, width: 2 })).toThrow("0.5 is no class");
});

test("every code has its colour", () => {
  expect(Array.from({ length: 256 }, (_, code) => colourOf(code)).flat()).toEqual(found.palette);
});

test("maps and scores at other sizes", () => {
  for (const { map, laid } of found.nearest) expect(laidOn(mapOf(map), laid)).toEqual(mapOf(laid));
  for (const { scores, classes, values, map, ...size } of found.enlarged) {
    const own = scoresOf(Float32Array.from(scores), size, classes, "first");
    const planes = Array.from({ length: classes }, (_, c) => [...enlargedPlane(own, c, map)]);
    expect(planes.flat()).toEqual(values);
    expect(smoothMap(own, map)).toEqual(mapOf(map));
  }
});

test("a map beside a truth", () => {
  for (const { answer, truth, pixels, mean_iou } of found.compared) {
    const matrix = confusion(mapOf(answer), mapOf(truth));
    const pairs = [...matrix].flatMap((count, i) => (count > 0 ? [[i >> 8, i & 255, count]] : []));
    expect(pairs).toEqual(pixels);
    expect(meanIou(matrix)).toBeCloseTo(mean_iou, 9);
  }
});

test("shares of a map, and pixels alike", () => {
  const map = row([3, 3, 9, 255, 3, 1, 1, 9]);
  expect(sharesOf(map)).toEqual([
    { code: 3, share: 3 / 7 },
    { code: 1, share: 2 / 7 },
    { code: 9, share: 2 / 7 },
  ]);
  // No class agrees with nothing.
  expect(alikePercent(map, map)).toBe(87.5);
});

test("a map covers what the network sees of an image, and bars have no class", () => {
  const spec = (fit: string, crop_fraction = 1) =>
    parsePreprocess({
      size: 50, crop_fraction, interpolation: "bilinear", mean: [0, 0, 0], std: [1, 1, 1], color: "RGB", layout: "NCHW", fit,
    });
  const wide = { height: 100, width: 200 };
  expect(windowOf(spec("crop"), wide)).toEqual({ left: 0.25, top: 0, width: 0.5, height: 1 });
  expect(windowOf(spec("stretch"), wide)).toEqual({ left: 0, top: 0, width: 1, height: 1 });
  expect(windowOf(spec("crop", 0.5), { height: 70, width: 70 })).toEqual({ left: 0.25, top: 0.25, width: 0.5, height: 0.5 });
  const barred = windowOf(spec("letterbox"), wide);
  expect(barred).toEqual({ left: 0, top: -0.5, width: 1, height: 2 });
  const map = mapOf({ height: 4, width: 2, codes: [1, 1, 2, 2, 3, 3, 4, 4] });
  expect([...withoutBars(map, barred).codes]).toEqual([255, 255, 2, 2, 3, 3, 255, 255]);
  expect(withoutBars(map, windowOf(spec("crop"), wide))).toEqual(map);
});
