/** Manifests of networks of maps: the jobs' own, and what is refused of one. */
import { expect, test } from "vitest";
import { parseManifest } from "../../src/core/manifest";
import { fromRuns } from "../../src/core/maps/runs";
import { checkMap } from "../../src/core/selftest";
import { vectors } from "./vectors";

const { files } = vectors<{ files: Record<string, string> }>("runs.json");
const text = (name: string): string => Buffer.from(files[name]!, "base64").toString();
const OF_MAPS = text("manifest-of-maps.json");

test("a manifest says whether answers are maps", () => {
  expect(parseManifest(text("manifest.json")).map).toBeNull();
  const { map, golden } = parseManifest(OF_MAPS);
  expect(map).toEqual({ height: 2, width: 3 });
  expect(fromRuns(golden[0]!.answers["a_int8.tflite"]!, map!).codes).toHaveLength(6);
});

test.each([
  ["[2, 3]", "[2, 4]", "6 pixels of 8"],
  ["[2, 3]", "[0, 3]", "map [0,3]: must be height and width"],
  ["[2, 3]", "[2]", "map [2]: must be height and width"],
  ["[2, 3]", "7", "map is missing or no list"],
  ['"runs"', '"logits"', "golden[0].runs is missing"],
])("a manifest of maps with %s as %s is refused", (from, to, message) => {
  expect(OF_MAPS).toContain(from);
  expect(() => parseManifest(OF_MAPS.replace(from, to))).toThrow(message);
});

test("a map passes the self-test where 95 % of its pixels are alike", () => {
  const size = { height: 10, width: 10 };
  const expected = fromRuns([0, 50, 1, 50], size);
  expect(checkMap(fromRuns([0, 55, 1, 45], size), expected).passed).toBe(true);
  const failed = checkMap(fromRuns([0, 56, 1, 44], size), expected);
  expect(failed).toEqual({ passed: false, text: "94.00 % of the pixels alike, 95 % needed; mIoU 88.6 %" });
  expect(checkMap(fromRuns([255, 100], size), expected).text).toContain("0.00 %");
});
