/** The best classes with bars. */
import type { Manifest } from "../core/manifest";
import { softmax, topK } from "../core/topk";
import { h } from "./dom";

const SHOWN = 5;

interface Row {
  readonly element: HTMLLIElement;
  readonly name: HTMLElement;
  readonly share: HTMLElement;
  readonly bar: HTMLElement;
}

export class Results {
  private readonly rows: Row[];
  private readonly list: HTMLOListElement;
  private readonly empty = h("p", { class: "hint" }, "Start the camera or open a photo.");
  private readonly spoken = h("p", { class: "visually-hidden", "aria-live": "polite" });
  readonly element: HTMLElement;

  constructor(private readonly manifest: Manifest) {
    this.rows = Array.from({ length: Math.min(SHOWN, manifest.labels.length) }, () => {
      const name = h("span", { class: "name" });
      const share = h("span", { class: "share" });
      const bar = h("span", { class: "fill" });
      const track = h("span", { class: "track", "aria-hidden": "true" }, bar);
      return { element: h("li", {}, name, share, track), name, share, bar };
    });
    this.list = h("ol", { class: "results", hidden: true }, ...this.rows.map((r) => r.element));
    this.element = h("div", {}, this.empty, this.list, this.spoken);
  }

  /** speak: also for screen readers; not with every frame of a camera. */
  show(logits: Float32Array, speak: boolean): void {
    const shares = softmax(logits);
    const top = topK(logits, this.rows.length);
    this.empty.hidden = true;
    this.list.hidden = false;
    this.rows.forEach((row, i) => {
      const found = top[i];
      row.element.hidden = found === undefined;
      if (found === undefined) return;
      const [index] = found;
      const percent = (shares[index]! * 100).toFixed(1);
      row.element.dataset.class = String(index);
      row.name.textContent = this.manifest.labels[index]?.label ?? `class ${index}`;
      row.share.textContent = `${percent} %`;
      row.bar.style.transform = `scaleX(${shares[index]!.toFixed(4)})`;
    });
    const best = this.rows[0];
    if (speak && best !== undefined) {
      this.spoken.textContent = `${best.name.textContent}, ${best.share.textContent}`;
    }
  }
}
