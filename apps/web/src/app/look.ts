/** The first screen: camera or photo in, what the network sees and latency out. */
import { messageOf } from "../core/errors";
import { UnreadableImage } from "../core/runner";
import { Window } from "../core/statistics";
import { answersOf, type Answers, type Seen } from "./answers";
import { fetchGolden, goldenAddress } from "./bundle";
import { Camera } from "./camera";
import { Figure, h, milliseconds } from "./dom";
import type { Engine } from "./engine";
import { Pair, twinOf } from "./pair";
import { Stage } from "./stage";
import type { View } from "./view";

/** Latency is told over so many of the last inferences. */
const LAST = 100;
const FRAMES_WINDOW = 20;
const WAITING = "The model is still loading; the answer comes by itself.";
const LOOKING = "Looking …";
const STARTING = "Starting the camera …";

export class LookView implements View {
  readonly name: string;
  private readonly stage: Stage;
  private readonly problem = h("p", { class: "problem", role: "alert", hidden: true });
  private readonly toggle = h("button", { class: "primary", click: () => void this.toggleCamera() }, "Start camera");
  private readonly flip = h("button", { click: () => void this.startCamera(true), hidden: true, "aria-label": "Other camera" }, "Flip");
  private readonly compare = h("button", { click: () => this.togglePair(), "aria-pressed": "false" });
  private readonly input = h("input", {
    type: "file",
    accept: "image/*",
    id: "photo",
    class: "visually-hidden",
    change: () => this.openChosen(),
  });
  private readonly answers: Answers;
  private readonly right: HTMLElement;
  private readonly figures = {
    p50: new Figure("p50", "ms"),
    p90: new Figure("p90", "ms"),
    preparation: new Figure("Preparation", "ms"),
    rate: new Figure("Frames", "/ s"),
  };
  private readonly camera: Camera;
  private inference = new Window(LAST);
  private preparation = new Window(LAST);
  private frames: number[] = [];
  private shownPhoto: Blob | null = null;
  private pair: Pair | null = null;
  /** Counts pictures: an answer to one that is gone is not shown. */
  private turn = 0;
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    const { manifest } = engine;
    this.answers = answersOf(manifest);
    this.name = this.answers.tab;
    const { overlay, controls } = this.answers;
    this.stage = new Stage(manifest.preprocess, overlay, (file) => void this.openPhoto(file));
    this.camera = new Camera(this.stage.video);
    const choose = h("label", { for: "photo", class: "button" }, "Open photo");
    const buttons = h("div", { class: "buttons" }, this.toggle, this.flip, this.input, choose, this.compare);
    const figures = h(
      "dl",
      { class: "figures strip", "aria-label": `Latency, last ${LAST}` },
      ...Object.values(this.figures).map((f) => f.element),
    );
    this.right = h("div", { class: "right" });
    this.showAnswers();
    const parts = [this.stage.element, figures, controls, buttons, this.problem, this.examples()];
    this.element = h("div", { class: "look" }, h("div", { class: "left" }, ...parts), this.right);
    engine.listen(() => this.onEngine());
  }

  /** The bundle's own images. */
  private examples(): HTMLElement | null {
    const { bundle, manifest } = this.engine;
    if (manifest.golden.length === 0) return null;
    const open = async (image: string): Promise<void> => {
      try {
        await this.openPhoto(new Blob([(await fetchGolden(bundle, image)) as BlobPart]));
      } catch (error) {
        this.complain(messageOf(error));
      }
    };
    const buttons = manifest.golden.map(({ image }, i) =>
      h(
        "button",
        { class: "example", click: () => void open(image) },
        h("img", { src: goldenAddress(bundle, image), alt: `Example ${i + 1}`, loading: "lazy" }),
      ),
    );
    return h("div", { class: "examples", role: "group", "aria-label": "Examples" }, ...buttons);
  }

  /** The model's answer, or both models' beside each other. */
  private showAnswers(): void {
    const { title, element } = this.answers;
    this.compare.setAttribute("aria-pressed", String(this.pair !== null));
    if (this.pair === null) this.right.replaceChildren(h("section", { class: "card" }, h("h2", {}, title), element));
    else this.right.replaceChildren(this.pair.element);
    const twin = twinOf(this.engine);
    this.compare.hidden = twin === null;
    if (twin !== null) this.compare.textContent = `Beside ${twin.precision}`;
  }

  private togglePair(): void {
    if (this.pair === null) {
      this.pair = new Pair(this.engine, this.answers.element);
      void this.loadPair(this.pair);
    } else {
      this.pair.close();
      this.pair = null;
    }
    this.showAnswers();
  }

  private async loadPair(pair: Pair): Promise<void> {
    await pair.load();
    if (this.pair === pair && this.shownPhoto !== null) await this.lookAtPhoto(this.shownPhoto);
  }

  /** Another picture, or none: what was said of the one before goes with it. why: what is going on. */
  private change(why?: string): number {
    this.answers.clear(why);
    this.pair?.clear(why);
    return ++this.turn;
  }

  hide(): void {
    if (this.camera.running) this.stopCamera();
  }

  /** Another file has other latencies, and sees the picture anew. */
  private onEngine(): void {
    const { phase } = this.engine;
    const seen = this.shownPhoto !== null || this.camera.running;
    if (phase.kind === "ready") {
      this.inference = new Window(LAST);
      this.preparation = new Window(LAST);
      this.showAnswers();
      if (this.pair !== null) void this.loadPair(this.pair);
      if (this.camera.running) void this.watch();
      else if (this.shownPhoto !== null) void this.lookAtPhoto(this.shownPhoto);
      return;
    }
    for (const figure of Object.values(this.figures)) figure.set("–");
    if (phase.kind === "failed") this.change(`No answer, for the model can’t be loaded: ${phase.text}`);
    else if (seen) this.change(WAITING);
  }

  private async toggleCamera(): Promise<void> {
    if (this.camera.running) this.stopCamera();
    else await this.startCamera(false);
  }

  private async startCamera(other: boolean): Promise<void> {
    this.complain(null);
    // A photo keeps its answer until there is a camera's picture.
    if (this.camera.running) this.change(STARTING);
    try {
      await this.camera.start(other);
    } catch (error) {
      const { shownPhoto } = this;
      if (shownPhoto === null) this.stopCamera();
      return this.complain(messageOf(error));
    }
    this.shownPhoto = null;
    this.stage.showCamera(this.camera.mirrored);
    this.flip.hidden = false;
    this.toggle.textContent = "Stop camera";
    void this.watch();
  }

  private stopCamera(): void {
    this.camera.stop();
    this.change();
    this.frames = [];
    this.figures.rate.set("–");
    this.flip.hidden = true;
    this.toggle.textContent = "Start camera";
    this.stage.showNone();
  }

  /** Looks at frame after frame while the camera runs; one at a time, the newest each time. */
  private async watch(): Promise<void> {
    const turn = this.change(this.engine.ready === null ? WAITING : STARTING);
    this.frames = [];
    while (this.camera.running && turn === this.turn) {
      const model = this.engine.ready;
      const frame = model === null ? null : await this.camera.frame();
      if (model === null || frame === null) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      try {
        await this.see(turn, frame);
        this.complain(null);
      } catch (error) {
        if (turn === this.turn) this.complain(messageOf(error));
      }
      this.countFrame();
      // Lets the page draw, and stops with it where the page isn't seen.
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  }

  private countFrame(): void {
    this.frames.push(performance.now());
    if (this.frames.length > FRAMES_WINDOW) this.frames.shift();
    const [first, last] = [this.frames[0]!, this.frames.at(-1)!];
    const rate = ((this.frames.length - 1) * 1000) / (last - first);
    this.figures.rate.set(this.frames.length > 1 ? rate.toFixed(1) : "–");
  }

  private openChosen(): void {
    const file = this.input.files?.[0];
    this.input.value = "";
    if (file !== undefined) void this.openPhoto(file);
  }

  private async openPhoto(file: Blob): Promise<void> {
    this.stopCamera();
    this.shownPhoto = file;
    this.stage.showPhoto(file);
    await this.lookAtPhoto(file);
  }

  private async lookAtPhoto(file: Blob): Promise<void> {
    this.complain(null);
    const { phase } = this.engine;
    // What became of the model is said already.
    if (phase.kind === "failed") return void ++this.turn;
    const turn = this.change(phase.kind === "ready" ? LOOKING : WAITING);
    if (this.engine.ready === null) return;
    try {
      await this.see(turn, new Uint8Array(await file.arrayBuffer()));
    } catch (error) {
      if (turn !== this.turn) return;
      const unreadable = error instanceof UnreadableImage || error instanceof DOMException;
      if (unreadable) this.refuse(file);
      else this.change("No answer.");
      this.complain(unreadable ? explain(file, messageOf(error)) : messageOf(error));
    }
  }

  /** A file that is no picture here isn't shown as one. */
  private refuse(file: Blob): void {
    this.shownPhoto = null;
    this.stage.showNone(`${nameOf(file)} can’t be shown`);
    this.change("No answer: the file is no picture that this browser reads.");
  }

  /** One picture through the model, and through the one beside it, one after the other. */
  private async see(turn: number, source: Uint8Array | ImageBitmap): Promise<void> {
    const beside = this.pair?.ready == null ? null : this.pair;
    const copy = beside !== null && source instanceof ImageBitmap ? await createImageBitmap(source) : source;
    const seen = await this.answers.see(this.engine.ready!, source);
    if (turn !== this.turn) return;
    this.show(seen);
    if (beside === null) return;
    try {
      const twin = await beside.see(copy);
      if (turn === this.turn && beside === this.pair && twin !== null) {
        beside.show(seen, this.inference.percentile(50), twin);
      }
    } catch (error) {
      // One that was closed in the meantime has nothing to say.
      if (beside.ready !== null) throw error;
    }
  }

  private show(seen: Seen): void {
    seen.show();
    this.inference.push(seen.inferenceMs);
    this.preparation.push(seen.preprocessMs);
    this.figures.p50.set(milliseconds(this.inference.percentile(50)));
    this.figures.p90.set(milliseconds(this.inference.percentile(90)));
    this.figures.preparation.set(milliseconds(this.preparation.percentile(50)));
  }

  private complain(text: string | null): void {
    this.problem.textContent = text;
    this.problem.hidden = text === null;
  }
}

const nameOf = (file: Blob): string => (file instanceof File ? file.name : "The file");

/** What can be done about a file that isn't read. */
function explain(file: Blob, why: string): string {
  const heic = /\.(heic|heif)$/i.test(nameOf(file)) || /hei[cf]/.test(file.type);
  const mend = heic
    ? "Few browsers read HEIC: save or share it as JPEG, and open that."
    : "JPEG, PNG and WebP work everywhere; save it as one of these (HEIC, RAW and PDF don’t).";
  return `${nameOf(file)}: ${why}. ${mend}`;
}
