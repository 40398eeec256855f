/** A second file of the bundle beside the chosen one: int8 beside float, on the same picture. */
import { messageOf } from "../core/errors";
import type { ModelFile } from "../core/manifest";
import { Window } from "../core/statistics";
import type { Model } from "../runtime/model";
import { answersOf, type Seen } from "./answers";
import { h, megabytes, milliseconds } from "./dom";
import type { Engine } from "./engine";

/** Of the chosen file another precision, else none. */
export function twinOf({ file, files }: Engine): ModelFile | null {
  const others = files.filter((other) => other.precision !== file.precision);
  return others.find((other) => other.precision === "float32") ?? others[0] ?? null;
}

export class Pair {
  readonly answers;
  private readonly head = h("h2", {});
  private readonly own = h("h2", {});
  private readonly agreed = h("p", { class: "agreed", role: "status" });
  /** Both answers beside each other. */
  readonly element: HTMLElement;
  private model: Model | null = null;
  private failure: string | null = null;
  /** Counts loads: one that ends late is of no use. */
  private turn = 0;
  private times = new Window(100);
  private alike = 0;
  private pictures = 0;

  constructor(
    private readonly engine: Engine,
    own: HTMLElement,
  ) {
    this.answers = answersOf(engine.manifest);
    const { overlay } = this.answers;
    const small = overlay === null ? null : h("div", { class: "small-map" }, overlay);
    const column = (...parts: (HTMLElement | null)[]): HTMLElement => h("div", {}, ...parts);
    this.element = h(
      "section",
      { class: "card" },
      h("div", { class: "pair" }, column(this.own, own), column(this.head, small, this.answers.element)),
      this.agreed,
    );
  }

  get ready(): Model | null {
    return this.model;
  }

  /** Loads the twin of what the engine has. */
  async load(): Promise<void> {
    this.close();
    const turn = this.turn;
    const file = twinOf(this.engine)!;
    this.title(this.own, this.engine.file, NaN);
    this.title(this.head, file, NaN);
    this.answers.clear("Loading …");
    try {
      const model = await this.engine.fresh(file);
      if (turn !== this.turn) return model.close();
      this.model = model;
    } catch (error) {
      this.failure = messageOf(error);
      if (turn === this.turn) this.answers.clear(this.failure);
    }
  }

  /** What the twin says of a picture; null while it isn't there. */
  async see(source: Uint8Array | ImageBitmap): Promise<Seen | null> {
    return this.model === null ? null : this.answers.see(this.model, source);
  }

  show(own: Seen, ownMedian: number, twin: Seen): void {
    twin.show();
    this.times.push(twin.inferenceMs);
    this.alike += own.alike(twin);
    this.pictures++;
    this.title(this.own, this.engine.file, ownMedian);
    this.title(this.head, twinOf(this.engine)!, this.times.percentile(50));
    const noun = this.pictures === 1 ? "picture" : "pictures";
    this.agreed.textContent = `${this.answers.agreement(this.alike / this.pictures, this.pictures)} ${noun} so far.`;
  }

  clear(why?: string): void {
    this.answers.clear(this.failure ?? (this.model === null ? "Loading …" : why));
  }

  close(): void {
    this.turn++;
    this.model?.close();
    this.model = null;
    this.failure = null;
    this.times = new Window(100);
    this.alike = this.pictures = 0;
    this.agreed.textContent = "";
  }

  private title(head: HTMLElement, { precision, bytes }: ModelFile, median: number): void {
    const ms = Number.isFinite(median) ? `${milliseconds(median)} ms` : "–";
    head.replaceChildren(precision, h("span", { class: "unit" }, `${megabytes(bytes)}, ${ms}`));
  }
}
