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
function browserName(): string {
  const brand = own.userAgentData?.brands.find((b) => !/not.?a.?brand|^chromium$/i.test(b.brand));
  if (brand !== undefined) return `${brand.brand} ${brand.version}`;
  const known = /(Firefox|Edg|OPR|Chrome|CriOS|FxiOS|Version)\/([\d.]+)/.exec(navigator.userAgent);
  if (known === null) return "unknown browser";
  return `${known[1] === "Version" ? "Safari" : known[1]} ${known[2]}`;
}

/** `device` of a hello line; what isn't known is null. */
async function deviceFacts(): Promise<Values> {
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

/** What a record says of where it was made: the device, this app, its runtime, the time of day. */
export async function facts(): Promise<Values> {
  return {
    device: await deviceFacts(),
    app: { name: "mobilemod web", version: APP_VERSION },
    runtimes: { "LiteRT.js": LITERT_VERSION, browser: browserName() },
    wall: new Date().toISOString(),
    isolated: crossOriginIsolated,
    user_agent: navigator.userAgent,
  };
}

/** A `state` of the harness. No browser tells a page its temperature or its process's memory. */
export async function state(heapBytes: number): Promise<Values> {
  return {
    thermal: null,
    temperature_c: null,
    battery: await battery(),
    memory_bytes: null,
    frequencies_hz: null,
    runtime_heap_bytes: heapBytes,
  };
}

/** `level` 0…1 and `charging`, or null where the browser doesn't tell. */
async function battery(): Promise<Values | null> {
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
