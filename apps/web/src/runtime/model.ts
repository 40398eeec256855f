/** A model that runs in a worker of its own. */
import type { Answer, ImageAnswer, Session, Times } from "../core/runner";
import { UnreadableImage } from "../core/runner";
import type { Decodings, Loaded, LoadRequest, MapAnswer, MapRequest, Methods, Response } from "./messages";
import ModelWorker from "./worker?worker";

/** A model that may be on its way. */
interface Coming extends Omit<LoadRequest, "model"> {
  readonly model: Uint8Array | Promise<Uint8Array>;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** A loaded model; `close` frees its memory and its threads. */
export class Model implements Session {
  private readonly worker = new ModelWorker();
  private readonly waiting = new Map<number, Waiting>();
  private next = 0;
  private loaded: Loaded | null = null;
  private runtimeTold: ((fetched: number, of: number) => void) | undefined;
  closed = false;

  private constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Response>) => {
      if ("fetched" in data) return this.runtimeTold?.(data.fetched, data.of);
      const waiting = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if ("value" in data) waiting?.resolve(data.value);
      else waiting?.reject(data.unreadable ? new UnreadableImage(data.error) : new Error(data.error));
    };
    this.worker.onerror = (event) => this.fail(event.message || "the runtime's worker failed");
  }

  /** Runtime and model come at the same time. runtime: told how many bytes of it are there, of how many. */
  static async load(
    { model: coming, preprocess, first, ...start }: Coming,
    runtime?: (fetched: number, of: number) => void,
  ): Promise<Model> {
    const model = new Model();
    model.runtimeTold = runtime;
    try {
      const started = model.call("start", { ...start, told: runtime !== undefined });
      const [bytes] = await Promise.all([coming, started]);
      model.loaded = (await model.call("load", { ...start, model: bytes, preprocess, first })) as Loaded;
    } catch (error) {
      model.close();
      throw error;
    }
    return model;
  }

  get seconds(): number {
    return this.loaded!.seconds;
  }

  get firstInferenceMs(): number {
    return this.loaded!.firstInferenceMs;
  }

  get runtime(): string {
    return this.loaded!.runtime;
  }

  get accelerated(): boolean | null {
    return this.loaded!.accelerated;
  }

  get classes(): number {
    return this.loaded!.classes;
  }

  get fetched(): readonly string[] {
    return this.loaded!.fetched;
  }

  image(encoded: Uint8Array): Promise<ImageAnswer> {
    return this.call("image", encoded) as Promise<ImageAnswer>;
  }

  frame(frame: ImageBitmap): Promise<ImageAnswer> {
    return this.call("frame", frame, [frame]) as Promise<ImageAnswer>;
  }

  map(request: MapRequest): Promise<MapAnswer> {
    const hand = request.source instanceof ImageBitmap ? [request.source] : [];
    return this.call("map", request, hand) as Promise<MapAnswer>;
  }

  pixels(rgb: Uint8Array): Promise<Answer> {
    return this.call("pixels", rgb) as Promise<Answer>;
  }

  exactPixels(png: Uint8Array): Promise<Answer> {
    return this.call("exactPixels", png) as Promise<Answer>;
  }

  time(runs: number): Promise<Times> {
    return this.call("time", runs) as Promise<Times>;
  }

  deviating(runs: number): Promise<number> {
    return this.call("deviating", runs) as Promise<number>;
  }

  decodings(png: Uint8Array): Promise<Decodings> {
    return this.call("decodings", png) as Promise<Decodings>;
  }

  heapBytes(): Promise<number> {
    return this.call("heapBytes", null) as Promise<number>;
  }

  close(): void {
    this.closed = true;
    this.worker.terminate();
    this.fail("the model was closed");
  }

  private fail(message: string): void {
    for (const { reject } of this.waiting.values()) reject(new Error(message));
    this.waiting.clear();
  }

  private call(method: keyof Methods, argument: unknown, hand: Transferable[] = []): Promise<unknown> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, argument }, hand);
    });
  }
}
