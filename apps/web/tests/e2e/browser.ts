/** Debian's (or any) Chromium, driven by playwright-core. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { chromium, type BrowserContext, type LaunchOptions, type Page } from "playwright-core";
import { FIXTURES } from "./setup";

/** Options of a browser whose camera shows the fixtures' stream. */
export const CAMERA = [
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
  `--use-file-for-fake-video-capture=${join(FIXTURES, "camera.mjpeg")}`,
];
export const PHONE = { width: 390, height: 844 };
export const READY = '.settings[data-phase="ready"]';
const AXE = join(import.meta.dirname, "../../node_modules/axe-core/axe.min.js");

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The browser's binary: CHROME, else the first in PATH. */
export function binary(): string {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
  const path = process.env.CHROME ?? found;
  if (path === undefined) throw new Error("no Chromium: install one, or set CHROME to its binary");
  return path;
}

/** A browser with a profile of its own. profile: its folder; "" for one that is thrown away. */
export async function open(
  profile = "",
  options: LaunchOptions & { viewport?: { width: number; height: number }; colorScheme?: "light" | "dark"; serviceWorkers?: "block" } = {},
): Promise<BrowserContext> {
  const { args = [], ...rest } = options;
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: binary(),
    args: ["--no-sandbox", ...args],
    ...rest,
  });
  // Machines that do much else at the same time are slow, not wrong.
  context.setDefaultTimeout(180_000);
  return context;
}

/** A page with its model loaded. */
export async function openApp(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForSelector(READY);
  return page;
}

/** What axe finds on the page as it is, serious or critical. */
export async function seriousFaults(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(AXE, "utf8"));
  const found = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> } };
    const { violations } = await axe.run();
    return violations.map((v) => `${v.impact} ${v.id}: ${v.nodes[0]!.html}`);
  });
  return found.filter((v) => /^(serious|critical)/.test(v));
}
