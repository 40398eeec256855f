/** What the page knows of the device and the browser. */
import type { Values } from "../core/protocol";

interface BrandedNavigator extends Navigator {
  readonly userAgentData?: {
    readonly brands: readonly { brand: string; version: string }[];
    readonly mobile: boolean;
    readonly platform: string;
    getHighEntropyValues(hints: string[]): Promise<Record<string, unknown>>;
  };
  readonly deviceMemory?: number;
  readonly getBattery?: () => Promise<{ level: number; charging: boolean }>;
}

const own = navigator as BrandedNavigator;

/** Most threads that can be asked for: one without shared memory. */
export function mostThreads(): number {
  return crossOriginIsolated ? Math.max(1, navigator.hardwareConcurrency || 1) : 1;
}

export function hasWebGpu(): boolean {
  return "gpu" in navigator;
}

/** The browser's name and version, as far as it tells them. */
export function browserName(): string {
  const brand = own.userAgentData?.brands.find((b) => !/not.?a.?brand|^chromium$/i.test(b.brand));
  if (brand !== undefined) return `${brand.brand} ${brand.version}`;
  const known = /(Firefox|Edg|OPR|Chrome|CriOS|FxiOS|Version)\/([\d.]+)/.exec(navigator.userAgent);
  if (known === null) return "unknown browser";
  return `${known[1] === "Version" ? "Safari" : known[1]} ${known[2]}`;
}

/** `device` of a hello line; what isn't known is null. */
export async function deviceFacts(): Promise<Values> {
  const hints: Record<string, unknown> = await (
    own.userAgentData?.getHighEntropyValues(["model", "platformVersion", "architecture"]) ??
      Promise.resolve({})
  ).catch(() => ({}));
  const platform = [own.userAgentData?.platform, hints.platformVersion].filter(Boolean).join(" ");
  return {
    kind: "browser",
    model: hints.model || null,
    os: platform || navigator.userAgent,
    processor: hints.architecture || null,
    cores: navigator.hardwareConcurrency || null,
    memory_bytes: own.deviceMemory === undefined ? null : own.deviceMemory * 2 ** 30,
  };
}

/** `level` 0…1 and `charging`, or null where the browser doesn't tell. */
export async function battery(): Promise<Values | null> {
  try {
    const found = await own.getBattery?.();
    return found === undefined ? null : { level: found.level, charging: found.charging };
  } catch {
    return null;
  }
}

/** Keeps the screen on until the returned function is called, where the browser can. */
export async function keepAwake(): Promise<() => void> {
  try {
    const lock = await navigator.wakeLock.request("screen");
    return () => void lock.release();
  } catch {
    return () => undefined;
  }
}
