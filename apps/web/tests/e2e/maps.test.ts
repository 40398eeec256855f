/** A bundle of a network of maps in a real Chromium: colours over the picture, legend, self-test. */
import type { BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { colourOf } from "../../src/core/maps/palette";
import { CAMERA, open, openApp, PHONE, READY, seriousFaults } from "./browser";
import { serve, type Site } from "./server";
import { fileOf, imagePath, manifestOf, MAPS_BUNDLE } from "./setup";

const { labels, preprocess, golden, map } = manifestOf(MAPS_BUNDLE);
let context: BrowserContext;
let site: Site;
let page: Page;

beforeAll(async () => {
  site = await serve(MAPS_BUNDLE);
  context = await open("", { viewport: PHONE, args: CAMERA });
  page = await openApp(context, site.url);
  // A drawn network's int8 maps part by more between processors than a self-test allows.
  await page.click(".settings summary");
  await page.selectOption("#model-file", fileOf(MAPS_BUNDLE, "float32"));
  await page.waitForSelector(`${READY}:has-text("float32")`);
  await page.click(".settings summary");
});
afterAll(async () => {
  await context.close();
  await site.close();
});

interface Shown {
  readonly width: number;
  readonly height: number;
  /** By "red green blue". */
  readonly pixels: Record<string, number>;
  readonly legend: { index: number; name: string; share: string; colour: string }[];
}

/** What lies over the picture, and what stands in the legend. */
const shown = (): Promise<Shown | null> =>
  page.evaluate(() => {
    const canvas = document.querySelector<HTMLCanvasElement>("canvas.map")!;
    if (canvas.hidden) return null;
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d")!.getImageData(0, 0, width, height);
    const pixels: Record<string, number> = {};
    for (let i = 0; i < data.length; i += 4) {
      const key = data.slice(i, i + 3).join(" ");
      pixels[key] = (pixels[key] ?? 0) + 1;
    }
    const rows = [...document.querySelectorAll<HTMLElement>(".results li:not([hidden])")];
    const legend = rows.map((row) => ({
      index: Number(row.dataset.class),
      name: row.querySelector(".name")!.textContent!,
      share: row.querySelector(".share")!.textContent!,
      colour: getComputedStyle(row.querySelector(".swatch")!).backgroundColor.replace(/[^0-9 ]/g, ""),
    }));
    return { width, height, pixels, legend };
  });

const answered = () => page.waitForSelector(".results li[data-class]");

function expectLegendOfPixels({ pixels, legend, width, height }: Shown): void {
  expect(legend).toHaveLength(Object.keys(pixels).length);
  for (const { index, name, share, colour } of legend) {
    expect(colour).toBe(colourOf(index).join(" "));
    expect(name).toBe(labels[index]!.label);
    const own = (100 * pixels[colour]!) / (width * height);
    if (own >= 0.05) expect(share).toBe(`${own.toFixed(1)} %`);
    else expect(share).toBe("< 0.1 %");
  }
}

test("an example has its classes' colours over it, with smooth borders, and a legend of them", async () => {
  expect(await shown()).toBeNull();
  await page.click(".example >> nth=1");
  await answered();
  const found = (await shown())!;
  expect([found.height, found.width]).toEqual([preprocess.height, preprocess.width]);
  expectLegendOfPixels(found);
  expect(await page.$$(".example")).toHaveLength(golden.length);
});

test("the slider makes the colours stronger and fainter", async () => {
  for (const [value, opacity] of [["0", "0"], ["85", "0.85"]] as const) {
    await page.fill("#opacity", value);
    expect(await page.$eval("canvas.map", (e) => getComputedStyle(e).opacity)).toBe(opacity);
    expect(await page.textContent(".opacity output")).toBe(`${value} %`);
  }
});

test("a new picture has no old answer, and one that can't be decoded none", async () => {
  await page.setInputFiles("#photo", imagePath(57));
  await answered();
  const gone = page.evaluate(
    () =>
      new Promise<boolean>((resolve) => {
        const canvas = document.querySelector<HTMLCanvasElement>("canvas.map")!;
        const photo = document.querySelector<HTMLImageElement>(".stage img")!;
        new MutationObserver(() => resolve(canvas.hidden === true)).observe(photo, { attributeFilter: ["src"] });
      }),
  );
  await page.setInputFiles("#photo", imagePath(119));
  expect(await gone).toBe(true);
  await answered();
  await page.setInputFiles("#photo", { name: "no.png", mimeType: "image/png", buffer: Buffer.from("no image") });
  await page.waitForSelector('[role="alert"]:has-text("can\'t be decoded")');
  expect(await shown()).toBeNull();
});

test("the camera's frames have the map's own pixels, and nothing stays when it stops", async () => {
  await page.click("text=Start camera");
  await answered();
  await page.waitForFunction(() => document.querySelectorAll(".figure dd")[3]!.textContent !== "–");
  const found = (await shown())!;
  expect([found.height, found.width]).toEqual([map!.height, map!.width]);
  expectLegendOfPixels(found);
  const figures = await page.$$eval(".look .figure dd", (all) => all.map((e) => e.textContent));
  console.log(`maps, live camera: p50 ${figures[0]} ms, p90 ${figures[1]} ms, ${figures[3]} frames/s`);
  await page.click("text=Stop camera");
  expect(await shown()).toBeNull();
  expect(await page.textContent("#panel-0 .hint")).toContain("Start the camera");
});

test("the self-test passes on the float file", async () => {
  await page.click("text=Self-test");
  await page.click("text=Run self-test");
  await page.waitForSelector(".verdict.good, .verdict.bad");
  expect(await page.textContent(".verdict")).toMatch(/^Passed/);
  expect(await page.textContent(".checks")).toMatch(/\d % of the pixels alike, 97 % needed/);
  await page.click('[role="tab"]:has-text("Segment")');
});

test.each(["light", "dark"] as const)("axe finds nothing serious, %s", async (colorScheme) => {
  await page.emulateMedia({ colorScheme });
  await page.click(".example >> nth=0");
  await answered();
  expect(await seriousFaults(page)).toEqual([]);
});
