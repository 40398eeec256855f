import { chromium } from "playwright-core";
import { test } from "vitest";
import { serve } from "./server";
test("try", async () => {
  const site = await serve("/tmp/bundle/efficientmod_xxs");
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const page = await browser.newPage();
  page.on("console", (m) => console.log("console", m.text()));
  page.on("pageerror", (m) => console.log("pageerror", m.message));
  await page.goto(site.url);
  for (const t of [1, 2]) for (const f of ["efficientmod_xxs_int8.tflite", "efficientmod_xxs_float32.tflite"]) {
    console.log(t, f, JSON.stringify(await page.evaluate(([t, f]) => (window as any).go(t, f), [t, f] as const)));
  }
  await browser.close(); await site.close();
}, 120000);
