// `node axe.mjs PAGE`: what axe finds on a page, serious or critical, what it fetches, and whether it
// is wider than the screen: a line each. CHROME: a Chromium.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(new URL("../../apps/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const url = pathToFileURL(process.argv[2]).href;

const browser = await chromium.launch({ executablePath: process.env.CHROME, args: ["--no-sandbox"] });
for (const [width, height] of [[390, 844], [1280, 900]]) {
  for (const colorScheme of ["light", "dark"]) {
    // The page's own policy forbids every script, axe's too.
    const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: true });
    context.setDefaultTimeout(180_000);
    const page = await context.newPage();
    const say = (text) => console.log(`${width} ${colorScheme}: ${text}`);
    page.on("request", (r) => { if (r.url() !== url && !r.url().startsWith("data:")) say(`fetches ${r.url()}`); });
    await page.goto(url);
    await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) say(`${wide} pixels wide`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    for (const v of violations) if (/serious|critical/.test(v.impact)) say(`${v.id}: ${v.nodes[0].html}`);
    await context.close();
  }
}
await browser.close();
