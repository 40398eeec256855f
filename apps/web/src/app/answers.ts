/** A kind of answers: how a model is asked, and where what it says is shown. */
import type { Manifest } from "../core/manifest";
import type { Model } from "../runtime/model";
import { Results } from "./results";
import { Segments } from "./segments";

/** An answer that may be shown, if its picture still is. */
export interface Seen {
  readonly inferenceMs: number;
  readonly preprocessMs: number;
  /** How much another model's answer to the same picture is this one, 0 to 1. */
  alike(other: Seen): number;
  show(): void;
}

export interface Answers {
  /** Of the screen, and of the card with the answer. */
  readonly tab: string;
  readonly title: string;
  /** How often two models agreed, 0 to 1, as a sentence. */
  agreement(share: number, pictures: number): string;
  readonly element: HTMLElement;
  /** Lies over the part of the picture that the network sees. */
  readonly overlay: HTMLElement | null;
  /** Stands below the picture. */
  readonly controls: HTMLElement | null;
  /** An encoded image, or a camera's frame, which is handed over. */
  see(model: Model, source: Uint8Array | ImageBitmap): Promise<Seen>;
  /** Takes away what was shown: its picture isn't there any more. why: what is going on instead. */
  clear(why?: string): void;
}

/** Those that the bundle's outputs ask for. */
export function answersOf(manifest: Manifest): Answers {
  return manifest.map === null ? new Results(manifest) : new Segments(manifest, manifest.map);
}
