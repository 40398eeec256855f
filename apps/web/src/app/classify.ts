/** The first screen: camera or photo in, classes and latency out. */
import { messageOf } from "../core/errors";
import { Window } from "../core/statistics";
import type { ImageAnswer } from "../core/runner";
import { Camera } from "./camera";
import { Figure, h, milliseconds } from "./dom";
import type { Engine } from "./engine";
import { Results } from "./results";
import type { View } from "./view";

/** Latency is told over so many of the last inferences. */
const LAST = 100;
const FRAMES_WINDOW = 20;

export class ClassifyView implements View {
  readonly name = "Classify";
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
  private readonly results: Results;
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
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    this.results = new Results(engine.manifest);
    const { cropFraction, height, width, fit } = engine.manifest.preprocess;
    const stage = h("div", { class: "stage" }, this.message, this.video, this.photo, this.crop);
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
    this.element = h(
      "div",
      { class: "classify" },
      h("div", { class: "left" }, stage, buttons, this.problem),
      h(
        "div",
        { class: "right" },
        h("section", { class: "card" }, h("h2", {}, "What it sees"), this.results.element),
        h("section", { class: "card" }, h("h2", {}, "Latency, last 100"), figures),
      ),
    );
    engine.listen(() => this.onEngine());
  }

  hide(): void {
    if (this.camera.running) this.stopCamera();
  }

  /** Another file has other latencies, and sees the photo anew. */
  private onEngine(): void {
    if (this.engine.phase.kind !== "ready") return;
    this.inference = new Window(LAST);
    this.preparation = new Window(LAST);
    if (this.shownPhoto !== null) void this.classifyPhoto(this.shownPhoto);
  }

  private async toggleCamera(): Promise<void> {
    if (this.camera.running) this.stopCamera();
    else await this.startCamera(false);
  }

  private async startCamera(other: boolean): Promise<void> {
    this.complain(null);
    try {
      await this.camera.start(other);
    } catch (error) {
      this.stopCamera();
      return this.complain(messageOf(error));
    }
    this.shownPhoto = null;
    this.photo.hidden = true;
    this.message.hidden = true;
    this.crop.hidden = false;
    this.flip.hidden = false;
    this.toggle.textContent = "Stop camera";
    void this.watch();
  }

  private stopCamera(): void {
    this.camera.stop();
    this.frames = [];
    this.flip.hidden = true;
    this.toggle.textContent = "Start camera";
    this.message.hidden = this.shownPhoto !== null;
    this.crop.hidden = this.shownPhoto === null;
  }

  /** Classifies frame after frame while the camera runs; one at a time, the newest each time. */
  private async watch(): Promise<void> {
    const stream = this.video.srcObject;
    while (this.camera.running && this.video.srcObject === stream) {
      const model = this.engine.ready;
      const frame = model === null ? null : await this.camera.frame();
      if (model === null || frame === null) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      try {
        this.show(await model.frame(frame), false);
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

  private async openPhoto(file: File): Promise<void> {
    this.shownPhoto = file;
    this.stopCamera();
    this.figures.rate.set("–");
    URL.revokeObjectURL(this.photo.src);
    this.photo.src = URL.createObjectURL(file);
    this.photo.hidden = false;
    await this.classifyPhoto(file);
  }

  private async classifyPhoto(file: Blob): Promise<void> {
    const model = this.engine.ready;
    if (model === null) return;
    this.complain(null);
    try {
      this.show(await model.image(new Uint8Array(await file.arrayBuffer())), true);
    } catch (error) {
      this.complain(messageOf(error));
    }
  }

  private show({ logits, inferenceMs, preprocessMs }: ImageAnswer, speak: boolean): void {
    this.results.show(logits, speak);
    this.inference.push(inferenceMs);
    this.preparation.push(preprocessMs);
    this.figures.p50.set(milliseconds(this.inference.percentile(50)));
    this.figures.p90.set(milliseconds(this.inference.percentile(90)));
    this.figures.preparation.set(milliseconds(this.preparation.percentile(50)));
  }

  private complain(text: string | null): void {
    this.problem.textContent = text;
    this.problem.hidden = text === null;
  }
}
