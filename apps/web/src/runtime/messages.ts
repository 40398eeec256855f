/** What the page and the worker that runs a model say to each other. */
import type { Pixels } from "../core/image";
import type { Preprocess } from "../core/manifest";
import type { ClassMap, Size } from "../core/maps/map";
import type { Answer, ImageAnswer, Times } from "../core/runner";

export type Delegate = "wasm" | "webgpu";

export interface StartRequest {
  /** Folder of the runtime's files, absolute. */
  readonly wasm: string;
  readonly threads: number;
  readonly delegate: Delegate;
  /** Whether to tell how much of the runtime has come. */
  readonly told?: boolean;
}

export interface LoadRequest extends StartRequest {
  readonly model: Uint8Array;
  readonly preprocess: Preprocess;
  /** A PNG whose values, as they are, the first inference is fed; grey where there is none. */
  readonly first?: Uint8Array | null;
}

export interface Loaded {
  readonly seconds: number;
  readonly firstInferenceMs: number;
  readonly runtime: string;
  /** Whether a GPU takes all of it; null where none is asked for. */
  readonly accelerated: boolean | null;
  readonly classes: number;
  /** Addresses of the runtime's files that were fetched. */
  readonly fetched: readonly string[];
}

/** A canvas's reading of an image beside the file's own values, three channels each. */
export interface Decodings {
  readonly byBrowser: Pixels;
  readonly exact: Pixels;
}

export interface MapRequest {
  /** An encoded image, or a frame, which is handed over. */
  readonly source: Uint8Array | ImageBitmap;
  /** Of the file's output. */
  readonly map: Size;
  readonly classes: number;
  /** Whether the output is the map itself. */
  readonly givesClasses: boolean;
  /** At the input's size, with smooth borders. */
  readonly smooth: boolean;
}

export interface MapAnswer extends Omit<ImageAnswer, "logits"> {
  /** Bars beside the image have no class. */
  readonly map: ClassMap;
}

/** The worker's methods. Encoded images and frames are handed over, not copied. */
export interface Methods {
  /** Loads the runtime, which a model needs; told while it comes. Gives the seconds that it took. */
  start(request: StartRequest): Promise<number>;
  load(request: LoadRequest): Promise<Loaded>;
  image(encoded: Uint8Array): Promise<ImageAnswer>;
  frame(frame: ImageBitmap): Promise<ImageAnswer>;
  /** Made here, as a map is a small part of what it is made of. */
  map(request: MapRequest): Promise<MapAnswer>;
  pixels(rgb: Uint8Array): Promise<Answer>;
  exactPixels(png: Uint8Array): Promise<Answer>;
  time(runs: number): Promise<Times>;
  /** How many of `runs` inferences on one input gave other logits than the first. */
  deviating(runs: number): Promise<number>;
  decodings(png: Uint8Array): Promise<Decodings>;
  /** Bytes of the runtime's memory. */
  heapBytes(): Promise<number>;
}

export interface Request {
  readonly id: number;
  readonly method: keyof Methods;
  readonly argument: unknown;
}

export type Response =
  /** So much of a file of the runtime has come; not the answer yet. */
  | { readonly id: number; readonly fetched: number; readonly of: number }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string; readonly unreadable: boolean };
