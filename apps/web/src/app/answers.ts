/** A kind of answers: how a model is asked, and where what it says is shown. */
import type { Model } from "../runtime/model";

/** An answer that may be shown, if its picture still is. */
export interface Seen {
  readonly inferenceMs: number;
  readonly preprocessMs: number;
  show(): void;
}

export interface Answers {
  /** Of the screen, and of the card with the answer. */
  readonly tab: string;
  readonly title: string;
  readonly element: HTMLElement;
  /** Lies over the part of the picture that the network sees. */
  readonly overlay: HTMLElement | null;
  /** Stands below the picture. */
  readonly controls: HTMLElement | null;
  /** An encoded image, or a camera's frame. */
  see(model: Model, source: Uint8Array | ImageBitmap): Promise<Seen>;
  /** Takes away what was shown: its picture isn't there any more. */
  clear(): void;
}
