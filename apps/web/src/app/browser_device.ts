/** This browser as a job's device. */
import { InputError, Unavailable } from "../core/errors";
import type { Configuration, Job } from "../core/job";
import type { Manifest, Preprocess } from "../core/manifest";
import { PROTOCOL } from "../core/protocol";
import type { Device, Session } from "../core/runner";
import { Model } from "../runtime/model";
import { facts, hasWebGpu, mostThreads, state } from "./device";
import { runtimeFolder } from "./engine";
import type { Link } from "./link";

const clock = (): number => (performance.timeOrigin + performance.now()) / 1000;

export class BrowserDevice implements Device {
  private readonly open = new Set<Model>();
  private preprocess: Preprocess | null = null;

  constructor(
    private readonly link: Pick<Link, "read" | "flush">,
    private readonly job: Job,
  ) {}

  begin({ preprocess }: Manifest): void {
    this.preprocess = preprocess;
  }

  async facts() {
    return { protocol: PROTOCOL, ...(await facts()) };
  }

  read(path: string): Promise<Uint8Array> {
    return this.link.read(path);
  }

  async load(
    file: Uint8Array,
    { file: name, threads, delegate }: Configuration,
    first: Uint8Array | null,
  ): Promise<Session> {
    if (this.job.files.find((f) => f.name === name)?.target !== "tflite") {
      throw new Unavailable(`${name} is no .tflite file, and a browser runs no other`);
    }
    if (delegate !== "wasm" && delegate !== "webgpu") {
      throw new Unavailable(`a browser has no ${delegate}; it has wasm and webgpu`);
    }
    if (delegate === "webgpu" && !hasWebGpu()) throw new Unavailable("this browser has no WebGPU");
    if (threads > mostThreads()) {
      const why = crossOriginIsolated ? "as many as cores" : "the page is not cross-origin isolated";
      throw new InputError(`${threads} threads: this browser gives at most ${mostThreads()} (${why})`);
    }
    const preprocess = this.preprocess!;
    const wasm = runtimeFolder();
    const model = await Model.load({ wasm, model: file, preprocess, threads, delegate, first });
    this.open.add(model);
    return model;
  }

  async state() {
    const heaps: number[] = [];
    for (const model of this.open) {
      if (model.closed) this.open.delete(model);
      else heaps.push(await model.heapBytes());
    }
    return state(heaps.reduce((a, b) => a + b, 0));
  }

  now(): number {
    return clock();
  }

  flush(): Promise<void> {
    return this.link.flush();
  }
}
