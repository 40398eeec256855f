/** The model that the page runs now, and the choices that led to it. */
import { messageOf } from "../core/errors";
import type { Manifest, ModelFile } from "../core/manifest";
import type { Delegate } from "../runtime/messages";
import { Model } from "../runtime/model";
import { fetchModel, runnable, type Bundle } from "./bundle";
import { mostThreads } from "./device";
import { megabytes } from "./dom";

const KEY = "mobilemod-choice";
/** Runs on one input that must agree before more than one thread is trusted. */
const TRIALS = 8;

export interface Choice {
  readonly file: string;
  readonly threads: number;
  readonly delegate: Delegate;
}

export type Phase =
  | { readonly kind: "loading"; readonly text: string; readonly share: number | null }
  | { readonly kind: "ready"; readonly note: string | null }
  | { readonly kind: "failed"; readonly text: string };

type Told = (fetched: number, of: number) => void;

interface Coming {
  readonly fetched: number;
  /** Bytes; 0 where it isn't known yet. */
  readonly of: number;
}

/** What is being fetched, and how much of it is there; what comes after, where all is. */
function comingText(model: Coming, runtime: Coming): { text: string; share: number | null } {
  const parts = [
    ["the model", model],
    ["the runtime", runtime],
  ] as const;
  const missing = parts.filter(([, { fetched, of }]) => fetched < of);
  if (missing.length === 0) return { text: "Starting the model", share: null };
  const texts = missing.map(([name, { fetched, of }]) => `${name}, ${(fetched / 1e6).toFixed(1)} of ${megabytes(of)}`);
  const all = parts.map(([, { of }]) => of).reduce((a, b) => a + b);
  const there = parts.map(([, { fetched }]) => fetched).reduce((a, b) => a + b);
  return { text: `Fetching ${texts.join("; ")}`, share: there / all };
}

/** Loads the chosen file and tells listeners what is going on. */
export class Engine {
  readonly files: readonly ModelFile[];
  choice: Choice;
  phase: Phase = { kind: "loading", text: "Starting", share: null };
  private model: Model | null = null;
  private turn = 0;
  private readonly listeners = new Set<() => void>();

  constructor(readonly bundle: Bundle) {
    this.files = runnable(bundle.manifest);
    this.choice = this.remembered();
  }

  get manifest(): Manifest {
    return this.bundle.manifest;
  }

  listen(listener: () => void): void {
    this.listeners.add(listener);
  }

  get file(): ModelFile {
    return this.files.find((f) => f.file === this.choice.file) ?? this.files[0]!;
  }

  /** The loaded model, or null while there is none. */
  get ready(): Model | null {
    return this.phase.kind === "ready" ? this.model : null;
  }

  choose(change: Partial<Choice>): Promise<void> {
    this.choice = { ...this.choice, ...change };
    localStorage.setItem(KEY, JSON.stringify(this.choice));
    return this.load();
  }

  /** A model of a file, as chosen else, that nobody else uses; the caller closes it. */
  async fresh(file: ModelFile = this.file): Promise<Model> {
    return this.start(fetchModel(file, () => undefined), this.choice.threads);
  }

  async load(): Promise<void> {
    const turn = ++this.turn;
    const late = (): boolean => turn !== this.turn;
    this.model?.close();
    this.model = null;
    try {
      const { file } = this;
      const model = { fetched: 0, of: file.bytes };
      const runtime = { fetched: 0, of: 0 };
      const tell = (): void => {
        if (!late()) this.tell({ kind: "loading", ...comingText(model, runtime) });
      };
      tell();
      const bytes = fetchModel(file, (fetched) => {
        model.fetched = fetched;
        tell();
      });
      const [loaded, note] = await this.startSteady(bytes, (fetched, of) => {
        Object.assign(runtime, { fetched, of });
        tell();
      });
      if (late()) return loaded.close();
      this.model = loaded;
      this.tell({ kind: "ready", note });
    } catch (error) {
      if (!late()) this.tell({ kind: "failed", text: messageOf(error) });
    }
  }

  /** With several threads, only where repeated runs agree; else with one, and a note that says so. */
  private async startSteady(bytes: Promise<Uint8Array>, runtime: Told): Promise<[Model, string | null]> {
    const { threads } = this.choice;
    if (threads === 1) return [await this.start(bytes, 1, runtime), null];
    const alone = async (note: string): Promise<[Model, string]> => [await this.start(bytes, 1, runtime), note];
    let model: Model;
    try {
      model = await this.start(bytes, threads, runtime);
    } catch (error) {
      // A file that isn't there is no fault of the threads.
      await bytes;
      return alone(`One thread: ${threads} failed (${messageOf(error)}).`);
    }
    if ((await model.deviating(TRIALS)) === 0) return [model, null];
    model.close();
    return alone(`One thread: with ${threads}, repeated runs disagreed.`);
  }

  private start(model: Promise<Uint8Array>, threads: number, runtime?: Told): Promise<Model> {
    const { delegate } = this.choice;
    const { preprocess } = this.manifest;
    // From the service worker's hands it comes at once.
    const told = navigator.serviceWorker?.controller == null ? runtime : undefined;
    return Model.load({ wasm: runtimeFolder(), model, preprocess, threads, delegate }, told);
  }

  private remembered(): Choice {
    const usual: Choice = { file: this.files[0]?.file ?? "", threads: 1, delegate: "wasm" };
    try {
      const found = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Choice>;
      const file = this.files.some((f) => f.file === found.file) ? found.file! : usual.file;
      const threads = Math.min(Math.max(1, found.threads ?? 1), mostThreads());
      return { file, threads, delegate: found.delegate === "webgpu" ? "webgpu" : "wasm" };
    } catch {
      return usual;
    }
  }

  private tell(phase: Phase): void {
    this.phase = phase;
    for (const listener of this.listeners) listener();
  }
}

/** Where the runtime's files lie, absolute. */
export function runtimeFolder(): string {
  return new URL(RUNTIME_FOLDER, document.baseURI).href;
}
