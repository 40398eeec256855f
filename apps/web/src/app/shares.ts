/** Classes with their shares: a name, a bar, a percentage. */
import type { Colour } from "../core/maps/palette";
import { h } from "./dom";

export interface ShareOf {
  readonly index: number;
  readonly name: string;
  /** 0 to 1. */
  readonly share: number;
  /** Of the class in a picture. */
  readonly colour?: Colour;
}

interface Row {
  readonly element: HTMLLIElement;
  readonly swatch: HTMLElement;
  readonly name: HTMLElement;
  readonly share: HTMLElement;
  readonly bar: HTMLElement;
}

export class Shares {
  private readonly rows: Row[] = [];
  private readonly list = h("ol", { class: "results", hidden: true });
  private readonly empty: HTMLElement;
  private readonly spoken = h("p", { class: "visually-hidden", "aria-live": "polite" });
  readonly element: HTMLElement;

  constructor(private readonly hint: string) {
    this.empty = h("p", { class: "hint" }, hint);
    this.element = h("div", {}, this.empty, this.list, this.spoken);
  }

  /** spoken: also for screen readers, so many of the first; none with every frame of a camera. */
  show(shares: readonly ShareOf[], spoken: number): void {
    this.empty.hidden = true;
    this.list.hidden = false;
    while (this.rows.length < shares.length) this.add();
    this.rows.forEach((row, i) => {
      row.element.hidden = i >= shares.length;
      delete row.element.dataset.class;
      if (i < shares.length) fill(row, shares[i]!);
    });
    if (spoken === 0) return;
    const told = shares.slice(0, spoken).map(({ name, share }) => `${name}, ${percent(share)}`);
    this.spoken.textContent = told.join("; ");
  }

  /** Nothing is shown; why, where it isn't that there is no picture yet. */
  clear(why = this.hint): void {
    this.empty.textContent = why;
    this.empty.hidden = false;
    this.list.hidden = true;
    for (const { element } of this.rows) delete element.dataset.class;
  }

  private add(): void {
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    const name = h("span", { class: "name" });
    const share = h("span", { class: "share" });
    const bar = h("span", { class: "fill" });
    const track = h("span", { class: "track", "aria-hidden": "true" }, bar);
    const element = h("li", {}, h("span", { class: "named" }, swatch, name), share, track);
    this.list.append(element);
    this.rows.push({ element, swatch, name, share, bar });
  }
}

function fill({ element, swatch, name, share, bar }: Row, one: ShareOf): void {
  element.dataset.class = String(one.index);
  name.textContent = one.name;
  share.textContent = percent(one.share);
  bar.style.transform = `scaleX(${one.share.toFixed(4)})`;
  swatch.hidden = one.colour === undefined;
  const colour = one.colour === undefined ? "" : `rgb(${one.colour.join(" ")})`;
  swatch.style.backgroundColor = colour;
  bar.style.backgroundColor = colour;
}

/** A class that is there has more than nothing. */
function percent(share: number): string {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}
