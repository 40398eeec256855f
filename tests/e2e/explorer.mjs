// `node explorer.mjs URL PICTURE WORD…`: opens a page, waits until every word stands on it, and takes
// a picture, 1280 pixels wide. Prints the page's text, and errors of its scripts. CHROME: a Chromium.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../apps/web/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const [url, picture, ...words] = process.argv.slice(2);

const args = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"];
const browser = await chromium.launch({ executablePath: process.env.CHROME, args });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
page.on("pageerror", (error) => console.log(`script error: ${error.message}`));
await page.goto(url, { waitUntil: "domcontentloaded" });
const late = (word) => console.log(`not on the page: ${word}`);
for (const word of words) {
  await page.getByText(word).first().waitFor({ timeout: 90_000 }).catch(() => late(word));
}
await page.waitForTimeout(2000); // what it draws has no text
console.log(await page.evaluate(() => document.body.innerText));
await page.screenshot({ path: picture });
await browser.close();
