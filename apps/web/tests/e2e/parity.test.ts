/** The page's answers on real images beside Python's, by its own runtime and decoding. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { topK } from "../../src/core/topk";
import { open } from "./browser";
import { define } from "../../vite.config";
import { serve, TESTING, type Site } from "./server";
import type { Testing } from "./page/testing";
import { BUNDLE, expected, fileOf, FIXTURES, imagePath, manifestOf } from "./setup";

declare const window: { testing: Testing };

const { size } = manifestOf(BUNDLE).preprocess;
const packed = readFileSync(join(FIXTURES, "pixels.bin"));
const ownPixels = (index: number): Buffer =>
  packed.subarray(index * size * size * 3, (index + 1) * size * size * 3);

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
  // The float file takes its time, and int8 is the one that rounds.
  const count = precision === "int8" ? theirs.length : 20;

  test("the same pixels give the same best class", async () => {
    await page.evaluate((name) => window.testing.start(name, 1), file);
    let differing = 0;
    let exact = 0;
    let largest = 0;
    let other = 0;
    for (let i = 0; i < count; i++) {
      const logits = await page.evaluate(
        (data) => window.testing.pixels(data),
        ownPixels(i).toString("base64"),
      );
      const differences = logits.map((v, c) => Math.abs(v - theirs[i]![c]!));
      differing += differences.filter((d) => d > 0).length;
      exact += differences.every((d) => d === 0) ? 1 : 0;
      largest = Math.max(largest, ...differences);
      other += best(logits) === best(theirs[i]!) ? 0 : 1;
    }
    console.log(
      `${file}, the same pixels, ${count} images: ${exact} with equal logits, ${differing} logits of ` +
        `${count * theirs[0]!.length} differ by at most ${largest.toFixed(5)}, best class differs on ${other}`,
    );
    expect(other).toBe(0);
  });

  test("the encoded images, decoded by the page, too", async () => {
    let other = 0;
    let within = 0;
    let largest = 0;
    let equal = 0;
    for (let i = 0; i < count; i++) {
      const data = readFileSync(imagePath(i)).toString("base64");
      const { logits, pixels } = await page.evaluate((d) => window.testing.image(d), data);
      const read = Buffer.from(pixels, "base64");
      const own = ownPixels(i);
      let worst = 0;
      for (let k = 0; k < own.length; k++) worst = Math.max(worst, Math.abs(read[k]! - own[k]!));
      equal += worst === 0 ? 1 : 0;
      within += worst <= 1 ? 1 : 0;
      largest = Math.max(largest, worst);
      other += best(logits) === best(theirs[i]!) ? 0 : 1;
    }
    console.log(
      `${file}, decoded by the page, ${count} images: pixels equal on ${equal}, within one step on ${within}, ` +
        `largest difference ${largest}; best class differs on ${other}`,
    );
    expect(other).toBe(0);
    expect(within).toBe(count);
  });
});
