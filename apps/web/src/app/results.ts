/** What a network sees in a picture: the best classes. */
import type { Manifest } from "../core/manifest";
import { softmax, topK } from "../core/topk";
import type { Model } from "../runtime/model";
import type { Answers, Seen } from "./answers";
import { Shares } from "./shares";

const SHOWN = 5;

interface Classified extends Seen {
  readonly best: number | undefined;
}

export class Results implements Answers {
  readonly tab = "Classify";
  readonly title = "What it sees";
  readonly overlay = null;
  readonly controls = null;
  private readonly shares = new Shares("Start the camera or open a photo.");
  readonly element = this.shares.element;

  constructor(private readonly manifest: Manifest) {}

  async see(model: Model, source: Uint8Array | ImageBitmap): Promise<Seen> {
    const live = source instanceof ImageBitmap;
    const { logits, ...times } = live ? await model.frame(source) : await model.image(source);
    const best = topK(logits, 1)[0]?.[0];
    const alike = (other: Seen): number => Number(best !== undefined && (other as Classified).best === best);
    return { ...times, best, alike, show: () => this.show(logits, !live) } as Classified;
  }

  agreement(share: number, pictures: number): string {
    return `The same first class on ${Math.round(share * pictures)} of ${pictures}`;
  }

  clear(why?: string): void {
    this.shares.clear(why);
  }

  /** speak: also for screen readers. */
  private show(logits: Float32Array, speak: boolean): void {
    const probabilities = softmax(logits);
    const top = topK(logits, SHOWN).map(([index]) => ({
      index,
      name: this.manifest.labels[index]?.label ?? `class ${index}`,
      share: probabilities[index]!,
    }));
    this.shares.show(top, speak ? 1 : 0);
  }
}
