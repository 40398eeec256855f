/** What the browser tests compare with: the folder that fixtures.py wrote. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseManifest, type Manifest } from "../../src/core/manifest";
import { DIST } from "./server";

const folder = process.env.MOBILEMOD_WEB_TESTS ?? "";
if (!existsSync(join(folder, "answers"))) {
  throw new Error("MOBILEMOD_WEB_TESTS is not what fixtures.py wrote; run 'make test-apps'");
}
if (!existsSync(join(DIST, "index.html"))) throw new Error("the app isn't built; run 'make web'");

/** A bundle as `mobilemod export` writes it. */
export const BUNDLE = join(folder, "bundle");
/** A bundle of another variant, another class count and another size. */
export const OTHER_BUNDLE = join(folder, "other");
/** A bundle of a network of maps, with drawn weights. */
export const MAPS_BUNDLE = join(folder, "maps");
/** Images and Python's answers of BUNDLE. */
export const FIXTURES = join(folder, "answers");

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

const ROOT = join(import.meta.dirname, "../../../..");

/** What a Python module of this checkout prints. codes: with which it may end. */
export function python(words: readonly string[], codes: readonly number[] = [0]): string {
  const command = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
  const env = { ...process.env, PYTHONPATH: ROOT };
  const done = spawnSync(command, ["-m", ...words], { cwd: ROOT, env, encoding: "utf8", maxBuffer: 1 << 26 });
  if (done.status === null || !codes.includes(done.status)) throw new Error(`${words.join(" ")}: ${done.error ?? done.stderr}`);
  return done.stdout;
}
