/** A job of the harness that a device makes for itself: the accuracy of files on images that it has. */
import { JOB_SCHEMA } from "./job";
import type { Manifest, ModelFile } from "./manifest";
import { sha256 } from "./sha256";

export interface LocalFile {
  readonly path: string;
  readonly sha256: string;
}

export interface LocalItem extends LocalFile {
  readonly name: string;
  readonly target: number;
}

/**
 * `job.json`. manifestHash: sha256 of the manifest's file, which is at `manifest.json`. golden: of the
 * bundle's golden images, at the manifest's paths.
 */
export function localJob(
  manifest: Manifest,
  manifestHash: string,
  files: readonly ModelFile[],
  items: readonly LocalItem[],
  golden: readonly LocalFile[],
): string {
  const job = {
    schema: JOB_SCHEMA,
    model: manifest.model,
    manifest: { path: "manifest.json", sha256: manifestHash },
    files: files.map(({ file, sha256, bytes, target, precision }) => ({
      name: file, path: `models/${file}`, sha256, bytes, target, precision, twin: null,
    })),
    inputs: { kind: "images", count: items.length, items, path: null, sha256: null, shape: null },
    golden,
    configurations: files.map(({ file }) => ({ file, threads: 1, delegate: "wasm", self_test_only: false })),
    accuracy: true,
    latency: null,
    sustained_seconds: 0,
    logits: true,
  };
  const id = sha256(new TextEncoder().encode(sorted(job)));
  return JSON.stringify({ ...job, id });
}

/** JSON with sorted keys and no spaces. */
function sorted(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sorted).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const parts = Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, part]) => `${JSON.stringify(key)}:${sorted(part)}`);
  return `{${parts.join(",")}}`;
}
