/** What the browser tests need, given by `make test-apps`; each is named where it is missing. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseManifest, type Manifest } from "../../src/core/manifest";
import { DIST } from "./server";

function given(name: string, what: string): string {
  const path = process.env[name];
  if (path === undefined || !existsSync(path)) {
    throw new Error(`${name} is ${path ?? "not set"}: ${what}; run 'make test-apps'`);
  }
  return path;
}

if (!existsSync(join(DIST, "index.html"))) throw new Error("the app isn't built; run 'make web'");

/** A bundle as `mobilemod export` writes it. */
export const BUNDLE = given("MOBILEMOD_WEB_BUNDLE", "a bundle with .tflite files");
/** A bundle of another variant, another class count and another size. */
export const OTHER_BUNDLE = given("MOBILEMOD_WEB_OTHER_BUNDLE", "a second, different bundle");
/** What fixtures.py wrote for BUNDLE. */
export const FIXTURES = given("MOBILEMOD_WEB_FIXTURES", "images and Python's answers");

export const manifestOf = (bundle: string): Manifest =>
  parseManifest(readFileSync(join(bundle, "manifest.json"), "utf8"));

export const fileOf = (bundle: string, precision: string): string =>
  manifestOf(bundle).files.find((f) => f.target === "tflite" && f.precision === precision)!.file;

export interface Expected {
  /** Names in FIXTURES/images. */
  readonly images: string[];
  readonly targets: number[];
  /** Python's, by model file. */
  readonly logits: Record<string, number[][]>;
}

export const expected = JSON.parse(readFileSync(join(FIXTURES, "expected.json"), "utf8")) as Expected;

export const imagePath = (index: number): string => join(FIXTURES, "images", expected.images[index]!);
