/** The page's answers on real images beside Python's, by its own runtime and decoding. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tolerance } from "../../src/core/selftest";
import { topK } from "../../src/core/topk";
import { open } from "./browser";
import { define } from "../../vite.config";
import { serve, TESTING, type Site } from "./server";
import type { Testing } from "./page/testing";
import { BUNDLE, expected, fileOf, FIXTURES, imagePath, manifestOf } from "./setup";

declare const window: { testing: Testing };

const { height, width } = manifestOf(BUNDLE).preprocess;
const LENGTH = height * width * 3;
const packed = readFileSync(join(FIXTURES, "pixels.bin"));
const ownPixels = (index: number): Buffer =>
  packed.subarray(index * LENGTH, (index + 1) * LENGTH);

let context: BrowserContext;
let site: Site;
let page: Page;

beforeAll(async () => {
  await buildTestPage();
  site = await serve(BUNDLE);
  context = await open("");
  page = await context.newPage();
  await page.goto(`${site.url}testing/index.html`);
});
afterAll(async () => {
  await context.close();
  await site.close();
});

/** The app's own build, of another page. */
async function buildTestPage(): Promise<void> {
  await build({
    configFile: false,
    root: join(import.meta.dirname, "page"),
    base: "./",
    logLevel: "error",
    define,
    build: { outDir: TESTING, emptyOutDir: true, target: "es2022" },
  });
}

const best = (logits: ArrayLike<number>): number => topK(logits, 1)[0]![0];

describe.each(["int8", "float32"])("%s", (precision) => {
  const file = fileOf(BUNDLE, precision);
  const theirs = expected.logits[file]!;
  // int8 is the one that rounds; of the float file a few tell as much.
  const count = precision === "int8" ? theirs.length : 10;

  test("the page reads Python's pixels and finds Python's classes", async () => {
    await page.evaluate((name) => window.testing.start(name, 1), file);
    const seen = { equalPixels: 0, largestStep: 0, otherRead: 0, equalLogits: 0, differing: 0, largest: 0, otherFed: 0, otherFar: 0 };
    const allowed = tolerance(theirs, precision);
    for (let i = 0; i < count; i++) {
      const data = readFileSync(imagePath(i)).toString("base64");
      const read = await page.evaluate((d) => window.testing.image(d), data);
      const pixels = Buffer.from(read.pixels, "base64");
      const own = ownPixels(i);
      const step = own.reduce((worst, v, k) => Math.max(worst, Math.abs(v - pixels[k]!)), 0);
      seen.largestStep = Math.max(seen.largestStep, step);
      if (step === 0) seen.equalPixels++;
      if (best(read.logits) !== best(theirs[i]!)) seen.otherRead++;
      // Fed with the very same pixels, which most often it was already.
      const fed =
        step === 0
          ? read.logits
          : await page.evaluate((d) => window.testing.pixels(d), own.toString("base64"));
      const differences = fed.map((v, c) => Math.abs(v - theirs[i]![c]!));
      seen.differing += differences.filter((d) => d > 0).length;
      seen.largest = Math.max(seen.largest, ...differences);
      if (differences.every((d) => d === 0)) seen.equalLogits++;
      const [first, found] = [best(theirs[i]!), best(fed)];
      if (found !== first) seen.otherFed++;
      if (theirs[i]![first]! - theirs[i]![found]! > 2 * allowed) seen.otherFar++;
    }
    console.log(
      `${file}, ${count} images. Decoded by the page: pixels equal on ${seen.equalPixels}, largest ` +
        `difference ${seen.largestStep}, best class differs on ${seen.otherRead}. Fed with Python's ` +
        `pixels: logits equal on ${seen.equalLogits}, ${seen.differing} of ${count * theirs[0]!.length} ` +
        `logits differ by at most ${seen.largest.toExponential(1)}, best class differs on ${seen.otherFed}`,
    );
    // Another processor's kernels may round a step otherwise, and so fall to a class as likely.
    expect(seen.largest).toBeLessThanOrEqual(allowed);
    expect(seen.otherFar).toBe(0);
    const ties = precision === "int8" ? count / 100 : 0;
    expect(seen.otherFed).toBeLessThanOrEqual(ties);
    expect(seen.otherRead).toBeLessThanOrEqual(ties);
    expect(seen.largestStep).toBeLessThanOrEqual(1);
  });

  test("repeated runs agree, on one thread and on two", async () => {
    for (const threads of [1, 2]) {
      await page.evaluate(([name, n]) => window.testing.start(name, n), [file, threads] as const);
      const deviating = await page.evaluate(() => window.testing.deviating(10));
      console.log(`${file}, ${threads} threads: ${deviating} of 10 runs deviate`);
      if (threads === 1) expect(deviating).toBe(0);
    }
  });
});
