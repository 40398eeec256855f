/** A page without a face: the app's runtime, decoding and preprocessing, for a test to call. */
import { parseManifest, type Preprocess } from "../../../src/core/manifest";
import { preprocessPixels } from "../../../src/core/preprocess";
import { decodeImage } from "../../../src/runtime/decode";
import { Model } from "../../../src/runtime/model";

export interface Testing {
  /** Loads a file of the bundle. */
  start(file: string, threads: number): Promise<void>;
  /** Logits of ready pixels, base64 of uint8 (size, size, 3). */
  pixels(base64: string): Promise<number[]>;
  /** Logits of an encoded image, and the pixels that the page makes of it, all base64. */
  image(base64: string): Promise<{ logits: number[]; pixels: string }>;
  /** How many of so many runs on one input gave other logits. */
  deviating(runs: number): Promise<number>;
}

let model: Model | null = null;
let preprocess: Preprocess;

const decode = (base64: string): Uint8Array => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

function encode(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(text);
}

(window as unknown as { testing: Testing }).testing = {
  async start(file, threads) {
    model?.close();
    preprocess = parseManifest(await (await fetch("/model/manifest.json")).text()).preprocess;
    const bytes = new Uint8Array(await (await fetch(`/model/${file}`)).arrayBuffer());
    const wasm = new URL(`/${RUNTIME_FOLDER}`, location.href).href;
    model = await Model.load({ wasm, model: bytes, preprocess, threads, delegate: "wasm" });
  },
  async pixels(base64) {
    return Array.from((await model!.pixels(decode(base64))).logits);
  },
  async image(base64) {
    const bytes = decode(base64);
    const pixels = preprocessPixels(await decodeImage(bytes), preprocess);
    const { logits } = await model!.image(bytes);
    return { logits: Array.from(logits), pixels: encode(pixels.data as Uint8Array) };
  },
  deviating: (runs) => model!.deviating(runs),
};
