/** Manifests of networks of maps: the jobs' own, and what is refused of one. */
import { expect, test } from "vitest";
import { parseManifest } from "../../src/core/manifest";
import { fromRuns } from "../../src/core/maps/runs";
import { checkMap } from "../../src/core/selftest";
import { vectors } from "./vectors";

function text(name: string): string {
  const { files } = vectors<{ files: Record<string, string> }>(name);
  return Buffer.from(files["manifest.json"]!, "base64").toString();
}
const OF_MAPS = text("maps_runs.json");

test("a manifest says whether answers are maps", () => {
  expect(parseManifest(text("runs.json")).map).toBeNull();
  const { map, givesClasses, golden } = parseManifest(OF_MAPS);
  expect(givesClasses).toBe(false);
  const said = (text: string, answer: string) => text.replace("{", `{"answer": "${answer}", `);
  expect(parseManifest(said(OF_MAPS, "classes")).givesClasses).toBe(true);
  expect(() => parseManifest(said(OF_MAPS, "map"))).toThrow('answer "map" is not one of scores, classes');
  expect(() => parseManifest(said(text("runs.json"), "classes"))).toThrow('"classes" is not one of scores');
  expect(map).toEqual({ height: 2, width: 4 });
  expect(fromRuns(golden[0]!.answers["a_int8.tflite"]!, map!).codes).toHaveLength(8);
});

test.each([
  ["[2, 4]", "[2, 5]", "8 pixels of 10"],
  ["[2, 4]", "[0, 3]", "map [0,3]: must be height and width"],
  ["[2, 4]", "[2]", "map [2]: must be height and width"],
  ["[2, 4]", "7", "map is missing or no list"],
  ['"runs"', '"logits"', "golden[0].runs is missing"],
])("a manifest of maps with %s as %s is refused", (from, to, message) => {
  expect(OF_MAPS).toContain(from);
  expect(() => parseManifest(OF_MAPS.replace(from, to))).toThrow(message);
});

test("a map passes the self-test where 97 % of its pixels are alike", () => {
  const size = { height: 10, width: 10 };
  const expected = fromRuns([0, 50, 1, 50], size);
  expect(checkMap(fromRuns([0, 53, 1, 47], size), expected).passed).toBe(true);
  const failed = checkMap(fromRuns([0, 56, 1, 44], size), expected);
  expect(failed).toEqual({ passed: false, text: "94.00 % of the pixels alike, 97 % needed; mIoU 88.6 %" });
  expect(checkMap(fromRuns([255, 100], size), expected).text).toContain("0.00 %");
});
