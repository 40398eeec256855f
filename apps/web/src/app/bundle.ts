/** The bundle beside the page: `model/manifest.json` and the files that it names. */
import { InputError } from "../core/errors";
import { parseManifest, type Manifest, type ModelFile } from "../core/manifest";
import { sha256 } from "../core/sha256";

const FOLDER = "model/";

/** There is a page, and no bundle beside it. */
export class NoModel extends InputError {}

/** A manifest, and a name that changes with it. */
export interface Bundle {
  readonly manifest: Manifest;
  readonly version: string;
}

export const MANIFEST_ADDRESS = `${FOLDER}manifest.json`;

export async function fetchBundle(): Promise<Bundle> {
  const response = await fetch(MANIFEST_ADDRESS, { cache: "no-cache" }).catch(() => {
    throw new InputError("This page’s host can’t be reached. Connect to the network, or start it again, and reload.");
  });
  const type = response.headers.get("Content-Type") ?? "";
  // A host that answers every path with its page has no manifest either.
  if (response.status === 404 || type.startsWith("text/html")) {
    throw new NoModel(
      "This page has no model yet. In the checkout: “make export MODEL=efficientmod_xxs”, then “make apps " +
        "MODEL=efficientmod_xxs APPS=web”, and reload. It need not be built again.",
    );
  }
  if (!response.ok) throw new InputError(`The manifest can't be had: HTTP ${response.status}.`);
  const text = await response.text();
  const version = sha256(new TextEncoder().encode(text)).slice(0, 16);
  return { manifest: parseManifest(text), version };
}

/** The files of a bundle that a browser runs, smallest first. */
export function runnable(manifest: Manifest): ModelFile[] {
  const files = manifest.files.filter((f) => f.target === "tflite");
  return [...files].sort((a, b) => a.bytes - b.bytes);
}

/** A file of the bundle by an address that changes with its contents. */
export function addressOf(file: ModelFile): string {
  return `${FOLDER}${file.file}?${file.sha256.slice(0, 16)}`;
}

/** A model file's bytes, checked by hash. progress: told how many are there. */
export async function fetchModel(
  file: ModelFile,
  progress: (bytes: number) => void,
): Promise<Uint8Array> {
  const response = await fetch(addressOf(file));
  if (!response.ok || response.body === null) {
    throw new InputError(`${file.file} can't be had: HTTP ${response.status}.`);
  }
  const bytes = new Uint8Array(file.bytes);
  let at = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > bytes.length) break;
    bytes.set(part.value, at);
    at += part.value.length;
    progress(at);
  }
  if ((await digest(bytes)) !== file.sha256) {
    throw new InputError(`${file.file} is not the file of the manifest (sha256 differs).`);
  }
  return bytes;
}

/** A golden image's address, which changes with the bundle. */
export function goldenAddress(bundle: Bundle, image: string): string {
  return `${FOLDER}${image}?${bundle.version}`;
}

export async function fetchGolden(bundle: Bundle, image: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(goldenAddress(bundle, image));
  if (!response.ok) throw new InputError(`${image} can't be had: HTTP ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

/** sha256 in hex; by the browser where it may: plain HTTP from another machine has no Web Crypto. */
export async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!isSecureContext) return sha256(bytes);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (b) => b.toString(16).padStart(2, "0")).join("");
}
