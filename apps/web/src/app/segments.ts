/** What a network sees in a picture: a class for every pixel, in colours over it, and a legend. */
import type { Manifest } from "../core/manifest";
import { alikePercent, NONE, pixelsOf, sharesOf, type ClassMap, type Size } from "../core/maps/map";
import { colourOf } from "../core/maps/palette";
import type { Model } from "../runtime/model";
import type { Answers, Seen } from "./answers";
import { h } from "./dom";
import { Shares } from "./shares";

const OPACITY = 60;
/** Of the classes of a photo, for screen readers. */
const SPOKEN = 3;

interface Mapped extends Seen {
  readonly map: ClassMap;
}

export class Segments implements Answers {
  readonly tab = "Segment";
  readonly title = "Classes in the picture";
  /** Has the map's own pixels; the browser enlarges it, each to a block. */
  readonly overlay = h("canvas", { class: "map", "aria-hidden": "true", hidden: true });
  private readonly slider = h("input", {
    type: "range", id: "opacity", min: 0, max: 100, value: OPACITY, input: () => this.fade(),
  });
  private readonly told = h("output", { for: "opacity" });
  readonly controls = h("div", { class: "opacity" }, h("label", { for: "opacity" }, "Colours"), this.slider, this.told);
  private readonly shares = new Shares("Start the camera, open a photo or choose an example.");
  readonly element = this.shares.element;

  constructor(
    private readonly manifest: Manifest,
    private readonly size: Size,
  ) {
    this.fade();
  }

  /** A photo's map has smooth borders; there is no time for that between a camera's frames. */
  async see(model: Model, source: Uint8Array | ImageBitmap): Promise<Seen> {
    const live = source instanceof ImageBitmap;
    const { labels, givesClasses } = this.manifest;
    const asked = { map: this.size, classes: labels.length, givesClasses, smooth: !live };
    const { map, ...times } = await model.map({ source, ...asked });
    const seen = map.codes.length - pixelsOf(map)[NONE]!;
    const alike = (other: Seen): number =>
      seen === 0 ? 0 : (alikePercent(map, (other as Mapped).map) / 100) * (map.codes.length / seen);
    return { ...times, map, alike, show: () => this.show(map, !live) } as Mapped;
  }

  agreement(share: number, pictures: number): string {
    return `The same class on ${(100 * share).toFixed(1)} % of the pixels of ${pictures}`;
  }

  clear(why?: string): void {
    this.overlay.hidden = true;
    this.shares.clear(why);
  }

  private show(map: ClassMap, speak: boolean): void {
    const shares = sharesOf(map).map(({ code, share }) => ({
      index: code,
      name: this.manifest.labels[code]?.label ?? `class ${code}`,
      share,
      colour: colourOf(code),
    }));
    if (shares.length > 0) {
      this.draw(map);
      this.shares.show(shares, speak ? SPOKEN : 0);
    } else {
      this.overlay.hidden = true;
      this.shares.clear("No answer: the model gave a value that is no number.");
    }
  }

  private draw({ height, width, codes }: ClassMap): void {
    const { overlay } = this;
    if (overlay.width !== width || overlay.height !== height) {
      overlay.width = width;
      overlay.height = height;
    }
    const context = overlay.getContext("2d")!;
    const image = context.createImageData(width, height);
    codes.forEach((code, i) => {
      if (code !== NONE) image.data.set([...colourOf(code), 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
    overlay.hidden = false;
  }

  private fade(): void {
    this.told.textContent = `${this.slider.value} %`;
    this.overlay.style.opacity = String(Number(this.slider.value) / 100);
  }
}
