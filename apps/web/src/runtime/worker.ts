/** Runs one model file with LiteRT.js, off the page's thread. */
import {
  getGlobalLiteRt,
  loadAndCompile,
  loadLiteRt,
  Tensor,
  type CompiledModel,
} from "@litertjs/core";
import { InputError, messageOf } from "../core/errors";
import { toRgb, type Picture, type Pixels } from "../core/image";
import type { Preprocess } from "../core/manifest";
import { laidOn, type ClassMap, type Size } from "../core/maps/map";
import { classMap, mapGiven, orderOf, scoresOf, smoothMap } from "../core/maps/scores";
import { windowOf, withoutBars } from "../core/maps/window";
import { normalize, preprocessPicture, type Layout } from "../core/preprocess";
import { UnreadableImage, type Answer, type ImageAnswer, type Times } from "../core/runner";
import { bitmapPicture, decodeByBrowser, decodeImage, openImage } from "./decode";
import type { Decodings, Loaded, LoadRequest, MapAnswer, MapRequest, Methods, Request, StartRequest } from "./messages";

const THREADED_SCRIPT = "litert_wasm_threaded_internal.js";

interface Ready {
  readonly model: CompiledModel;
  readonly preprocess: Preprocess;
  readonly shape: number[];
  readonly layout: Layout;
}

let ready: Ready | null = null;
const GREY = 128;
/** What `time` runs: the last input. */
let lastInput: Float32Array<ArrayBuffer> = new Float32Array(0);

function current(): Ready {
  if (ready === null) throw new Error("no model is loaded");
  return ready;
}

async function load(request: LoadRequest): Promise<Loaded> {
  const start = performance.now();
  const options =
    request.delegate === "webgpu"
      ? { accelerator: "webgpu" as const }
      : { accelerator: "wasm" as const, cpuOptions: { numThreads: request.threads } };
  const model = await loadAndCompile(request.model, options);
  const input = inputOf(model, request.preprocess);
  ready = { model, preprocess: request.preprocess, ...input };
  const seconds = runtimeSeconds + (performance.now() - start) / 1000;
  lastInput = inputFrom(await firstPixels(request));
  const first = await infer(lastInput);
  const on =
    request.delegate === "webgpu"
      ? `WebGPU${model.isFullyAccelerated ? "" : " in part"}`
      : `XNNPACK in WebAssembly, ${request.threads} thread${request.threads === 1 ? "" : "s"}`;
  return {
    seconds,
    firstInferenceMs: first.inferenceMs,
    accelerated: request.delegate === "webgpu" ? model.isFullyAccelerated : null,
    runtime: `LiteRT.js ${LITERT_VERSION}, ${on}`,
    classes: first.logits.length,
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name),
  };
}

async function firstPixels({ first, preprocess }: LoadRequest): Promise<Pixels> {
  if (first != null) return valuesOf(first);
  return toPixels(new Uint8Array(preprocess.height * preprocess.width * 3).fill(GREY));
}

let runtimeSeconds = 0;

/** Starts LiteRT.js as the request needs it. */
async function start({ wasm, threads, delegate }: StartRequest): Promise<number> {
  const begin = performance.now();
  const scope = self as unknown as Record<string, unknown>;
  // In a worker the script can't tell by itself where it came from.
  scope.Module = {
    locateFile: (name: string) => wasm + name,
    mainScriptUrlOrBlob: wasm + THREADED_SCRIPT,
  };
  // LiteRT.js asks for a GPU whenever it starts, which takes time and memory on phones.
  if (delegate === "wasm") Object.defineProperty(navigator, "gpu", { value: undefined });
  if (import.meta.env.DEV) {
    // The development server's workers are modules, which have no importScripts.
    scope.importScripts = (url: string): void => {
      const request = new XMLHttpRequest();
      request.open("GET", url, false);
      request.send();
      (0, eval)(request.responseText);
    };
  }
  await loadLiteRt(wasm, { threads: threads > 1 });
  runtimeSeconds = (performance.now() - begin) / 1000;
  return runtimeSeconds;
}

/** Tells how much of the runtime has come. What it is compiled from stays the host's own answer. */
function watchFetches(tell: (fetched: number, of: number) => void): void {
  const plain = self.fetch;
  self.fetch = async (...request) => {
    const response = await plain(...request);
    const size = RUNTIME_BYTES[response.url.slice(response.url.lastIndexOf("/") + 1)];
    if (size !== undefined && response.body !== null) void count(response.clone(), (bytes) => tell(bytes, size));
    return response;
  };
}

async function count(response: globalThis.Response, tell: (bytes: number) => void): Promise<void> {
  const reader = response.body!.getReader();
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) tell((bytes += part.value.length));
}

/** The input's shape and order: files have either, the manifest's size tells that they fit. */
function inputOf(
  model: CompiledModel,
  { height, width }: Preprocess,
): { shape: number[]; layout: Layout } {
  const [input, ...others] = model.getInputDetails();
  const shape = Array.from(input!.shape);
  const layouts: [Layout, number[]][] = [
    ["NCHW", [1, 3, height, width]],
    ["NHWC", [1, height, width, 3]],
  ];
  const found = layouts.find(([, expected]) => expected.join() === shape.join());
  if (found === undefined || others.length > 0 || input!.dtype !== "float32") {
    throw new InputError(
      `the model takes ${input!.dtype} [${shape}]; the manifest says float32, ${height} x ${width}`,
    );
  }
  return { shape, layout: found[0] };
}

/** Normalized values in the file's own order. */
function inputFrom(pixels: Pixels): Float32Array<ArrayBuffer> {
  const { preprocess, layout } = current();
  return normalize(pixels, preprocess, layout);
}

/** Normalized values to logits. The time includes both copies. */
async function infer(input: Float32Array<ArrayBuffer>): Promise<Answer> {
  const { model, shape } = current();
  const start = performance.now();
  const tensor = new Tensor(input, shape);
  const outputs = await model.run(tensor);
  // A copy; of a map, which is uint8, as numbers.
  const logits = Float32Array.from((await outputs[0]!.data()) as Float32Array | Uint8Array);
  const inferenceMs = performance.now() - start;
  tensor.delete();
  for (const output of outputs) output.delete();
  return { logits, inferenceMs };
}

function toPixels(rgb: Pixels["data"]): Pixels {
  const { height, width } = current().preprocess;
  if (rgb.length !== height * width * 3) {
    throw new InputError(`${rgb.length} values are no image of ${height} x ${width}`);
  }
  return { width, height, channels: 3, data: rgb };
}

async function inferPixels(pixels: Pixels): Promise<Answer> {
  lastInput = inputFrom(pixels);
  return infer(lastInput);
}

async function preprocessed(open: () => Promise<Picture> | Picture): Promise<ImageAnswer> {
  const start = performance.now();
  let picture: Picture;
  try {
    picture = await open();
  } catch (error) {
    throw new UnreadableImage(`the image can't be decoded: ${messageOf(error)}`);
  }
  lastInput = inputFrom(preprocessPicture(picture, current().preprocess));
  const preprocessMs = performance.now() - start;
  return { ...(await infer(lastInput)), preprocessMs };
}

function openedFrom(source: Uint8Array | ImageBitmap): Promise<Picture> | Picture {
  return source instanceof ImageBitmap ? bitmapPicture(source) : openImage(source);
}

async function map({ source, map, classes, givesClasses, smooth }: MapRequest): Promise<MapAnswer> {
  const { preprocess } = current();
  let image: Size = preprocess;
  const { logits, ...times } = await preprocessed(async () => {
    const picture = await openedFrom(source);
    image = picture;
    return picture;
  });
  const found = (): ClassMap => {
    if (givesClasses) {
      const given = mapGiven(logits, map, classes);
      return smooth ? laidOn(given, preprocess) : given;
    }
    const scores = scoresOf(logits, map, classes, orderOf("tflite"));
    return smooth ? smoothMap(scores, preprocess) : classMap(scores);
  };
  return { ...times, map: withoutBars(found(), windowOf(preprocess, image)) };
}

/** A lossless image's own values. */
async function valuesOf(png: Uint8Array): Promise<Pixels> {
  return toPixels(toRgb(await decodeImage(png)).data);
}

async function time(runs: number): Promise<Times> {
  const ms: number[] = [];
  const at: number[] = [];
  for (let i = 0; i < runs; i++) {
    const begin = (performance.timeOrigin + performance.now()) / 1000;
    try {
      ms.push((await infer(lastInput)).inferenceMs);
    } catch (error) {
      return { ms, at, failed: messageOf(error) };
    }
    at.push(begin);
  }
  return { ms, at, failed: null };
}

async function deviating(runs: number): Promise<number> {
  const { shape } = current();
  // Every value differs, so that no kernel gets off lightly.
  const input = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
    Math.sin(i * 12.9898) * 2,
  );
  const first = (await infer(input)).logits;
  let found = 0;
  for (let i = 1; i < runs; i++) {
    const { logits } = await infer(input);
    if (logits.some((v, c) => !Object.is(v, first[c]))) found++;
  }
  return found;
}

async function decodings(png: Uint8Array): Promise<Decodings> {
  return { byBrowser: toRgb(await decodeByBrowser(png)), exact: toRgb(await decodeImage(png)) };
}

const methods: Methods = {
  start,
  load,
  image: (encoded) => preprocessed(() => openedFrom(encoded)),
  frame: (frame) => preprocessed(() => openedFrom(frame)),
  map,
  pixels: (rgb) => inferPixels(toPixels(rgb)),
  exactPixels: async (png) => inferPixels(await valuesOf(png)),
  time,
  deviating,
  decodings,
  heapBytes: async () => getGlobalLiteRt().liteRtWasm.HEAPU8.buffer.byteLength,
};

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { id, method, argument } = data;
  // Kept by the service worker it comes at once, and nothing is to be told.
  if (method === "start" && (argument as StartRequest).told) {
    watchFetches((fetched, of) => self.postMessage({ id, fetched, of }));
  }
  try {
    const value = await (methods[method] as (argument: unknown) => Promise<unknown>)(argument);
    self.postMessage({ id, value });
  } catch (error) {
    const unreadable = error instanceof UnreadableImage;
    self.postMessage({ id, error: messageOf(error), unreadable });
  }
};
