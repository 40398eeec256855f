/** The first screen: camera or photo in, what the network sees and latency out. */
import { messageOf } from "../core/errors";
import { Window } from "../core/statistics";
import type { Answers, Seen } from "./answers";
import { fetchGolden, goldenAddress } from "./bundle";
import { Camera } from "./camera";
import { Figure, h, milliseconds } from "./dom";
import type { Engine } from "./engine";
import { Results } from "./results";
import { Segments } from "./segments";
import type { View } from "./view";

/** Latency is told over so many of the last inferences. */
const LAST = 100;
const FRAMES_WINDOW = 20;

export class LookView implements View {
  readonly name: string;
  private readonly video = h("video", { playsinline: true, muted: true, "aria-label": "Camera picture" });
  private readonly photo = h("img", { alt: "Your photo", hidden: true });
  private readonly message = h("p", { class: "stage-message" }, "No picture yet");
  private readonly crop = h("div", { class: "crop", "aria-hidden": "true", hidden: true });
  private readonly problem = h("p", { class: "problem", role: "alert", hidden: true });
  private readonly toggle = h("button", { class: "primary", click: () => void this.toggleCamera() }, "Start camera");
  private readonly flip = h("button", { click: () => void this.startCamera(true), hidden: true, "aria-label": "Other camera" }, "Flip");
  private readonly input = h("input", {
    type: "file",
    accept: "image/*",
    id: "photo",
    class: "visually-hidden",
    change: () => void this.openChosen(),
  });
  private readonly answers: Answers;
  private readonly figures = {
    p50: new Figure("p50", "ms"),
    p90: new Figure("p90", "ms"),
    preparation: new Figure("Preparation", "ms"),
    rate: new Figure("Frames", "/ s"),
  };
  private readonly camera = new Camera(this.video);
  private inference = new Window(LAST);
  private preparation = new Window(LAST);
  private frames: number[] = [];
  private shownPhoto: Blob | null = null;
  /** Counts pictures: an answer to one that is gone is not shown. */
  private turn = 0;
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    const { manifest } = engine;
    const answers = manifest.map === null ? new Results(manifest) : new Segments(manifest, manifest.map);
    this.answers = answers;
    this.name = answers.tab;
    const { cropFraction, height, width, fit } = manifest.preprocess;
    const parts = [this.message, this.video, this.photo, answers.overlay, this.crop];
    const stage = h("div", { class: "stage" }, ...parts);
    // The picture as the network sees it, with the margin around it.
    stage.style.setProperty("--ratio", String(width / height));
    const shown = { crop: "cover", stretch: "fill", letterbox: "contain" }[fit];
    stage.style.setProperty("--fit", shown);
    stage.style.setProperty("--fraction", String(cropFraction));
    stage.addEventListener("dragover", (event) => {
      event.preventDefault();
      stage.classList.add("over");
    });
    stage.addEventListener("dragleave", () => stage.classList.remove("over"));
    stage.addEventListener("drop", (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file !== undefined) void this.openPhoto(file);
    });
    const choose = h("label", { for: "photo", class: "button" }, "Open photo");
    const buttons = h("div", { class: "buttons" }, this.toggle, this.flip, this.input, choose);
    const figures = h("dl", { class: "figures" }, ...Object.values(this.figures).map((f) => f.element));
    const seen = h("section", { class: "card" }, h("h2", {}, answers.title), answers.element);
    const latency = h("section", { class: "card" }, h("h2", {}, "Latency, last 100"), figures);
    // A legend may be long; speed is looked at beside the picture.
    this.element = h(
      "div",
      { class: "look" },
      h("div", { class: "left" }, stage, answers.controls, buttons, this.examples(), this.problem),
      h("div", { class: "right" }, ...(manifest.map === null ? [seen, latency] : [latency, seen])),
    );
    engine.listen(() => this.onEngine());
  }

  /** The bundle's own images, where there are maps to be seen of them. */
  private examples(): HTMLElement | null {
    const { bundle, manifest } = this.engine;
    if (manifest.map === null || manifest.golden.length === 0) return null;
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
        h("img", { src: goldenAddress(bundle, image), alt: `Example ${i + 1}` }),
      ),
    );
    return h("div", { class: "examples", role: "group", "aria-label": "Examples" }, ...buttons);
  }

  /** Another picture, or none: what was said of the one before goes with it. */
  private change(): number {
    this.answers.clear();
    return ++this.turn;
  }

  hide(): void {
    if (this.camera.running) this.stopCamera();
  }

  /** Another file has other latencies, and sees the photo anew. */
  private onEngine(): void {
    if (this.engine.phase.kind !== "ready") return;
    this.inference = new Window(LAST);
    this.preparation = new Window(LAST);
    if (this.shownPhoto !== null) void this.lookAtPhoto(this.shownPhoto);
  }

  private async toggleCamera(): Promise<void> {
    if (this.camera.running) this.stopCamera();
    else await this.startCamera(false);
  }

  private async startCamera(other: boolean): Promise<void> {
    this.complain(null);
    // A photo keeps its answer until there is a camera's picture.
    if (this.camera.running) this.change();
    try {
      await this.camera.start(other);
    } catch (error) {
      this.stopCamera();
      return this.complain(messageOf(error));
    }
    this.answers.overlay?.classList.toggle("mirrored", this.camera.mirrored);
    this.shownPhoto = null;
    this.photo.hidden = true;
    this.message.hidden = true;
    this.crop.hidden = false;
    this.flip.hidden = false;
    this.toggle.textContent = "Stop camera";
    void this.watch();
  }

  private stopCamera(): void {
    const running = this.camera.running;
    this.camera.stop();
    if (running) this.change();
    this.answers.overlay?.classList.remove("mirrored");
    this.frames = [];
    this.flip.hidden = true;
    this.toggle.textContent = "Start camera";
    this.message.hidden = this.shownPhoto !== null;
    this.crop.hidden = this.shownPhoto === null;
  }

  /** Looks at frame after frame while the camera runs; one at a time, the newest each time. */
  private async watch(): Promise<void> {
    const stream = this.video.srcObject;
    const turn = this.change();
    while (this.camera.running && this.video.srcObject === stream) {
      const model = this.engine.ready;
      const frame = model === null ? null : await this.camera.frame();
      if (model === null || frame === null) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      try {
        const seen = await this.answers.see(model, frame);
        if (turn !== this.turn) break;
        this.show(seen);
        this.complain(null);
      } catch (error) {
        if (this.engine.ready === model) this.complain(messageOf(error));
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

  private async openChosen(): Promise<void> {
    const file = this.input.files?.[0];
    this.input.value = "";
    if (file !== undefined) await this.openPhoto(file);
  }

  private async openPhoto(file: Blob): Promise<void> {
    this.shownPhoto = file;
    this.stopCamera();
    this.figures.rate.set("–");
    URL.revokeObjectURL(this.photo.src);
    this.photo.src = URL.createObjectURL(file);
    this.photo.hidden = false;
    await this.lookAtPhoto(file);
  }

  private async lookAtPhoto(file: Blob): Promise<void> {
    const turn = this.change();
    const model = this.engine.ready;
    if (model === null) return;
    this.complain(null);
    try {
      const seen = await this.answers.see(model, new Uint8Array(await file.arrayBuffer()));
      if (turn === this.turn) this.show(seen);
    } catch (error) {
      if (turn === this.turn) this.complain(messageOf(error));
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
