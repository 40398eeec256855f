/** Debian's (or any) Chromium, driven by playwright-core. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type BrowserContext, type LaunchOptions } from "playwright-core";

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
  options: LaunchOptions & { viewport?: { width: number; height: number }; colorScheme?: "light" | "dark" } = {},
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
