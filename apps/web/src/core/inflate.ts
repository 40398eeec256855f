/** Deflated data, inflated only as far as it is asked for. */
import { InputError } from "./errors";

/** Deflate packs at most this many bytes into one. */
const MAX_RATIO = 1032;

export class Inflater {
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private readonly packed: number;
  private chunk: Uint8Array = new Uint8Array(0);
  private at = 0;

  /** format: "deflate" is zlib's, "deflate-raw" without its frame. what: the data, for messages. */
  constructor(
    packed: Blob,
    format: CompressionFormat,
    private readonly what: string,
  ) {
    this.packed = packed.size;
    this.reader = packed.stream().pipeThrough(new DecompressionStream(format)).getReader();
  }

  /** Throws where `bytes` can't have been packed into the data. */
  expect(bytes: number): void {
    if (bytes > this.packed * MAX_RATIO) this.cutShort();
  }

  /** Fills `target` with the next bytes; false, and nothing is taken, where `fill` must wait for some. */
  take(target: Uint8Array): boolean {
    const end = this.at + target.length;
    if (end > this.chunk.length) return false;
    target.set(this.chunk.subarray(this.at, end));
    this.at = end;
    return true;
  }

  /** As `take`; rejects with `InputError` where the data ends before, or is damaged. */
  async fill(target: Uint8Array): Promise<void> {
    for (let filled = 0; filled < target.length; ) {
      if (this.at === this.chunk.length) {
        const next = await this.reader.read().catch(() => this.cutShort());
        if (next.value === undefined) this.cutShort();
        [this.chunk, this.at] = [next.value, 0];
      }
      const part = this.chunk.subarray(this.at, this.at + target.length - filled);
      target.set(part, filled);
      filled += part.length;
      this.at += part.length;
    }
  }

  /** Inflates nothing more. */
  close(): void {
    // What is wrong behind the last row is nobody's concern.
    this.reader.cancel().catch(() => undefined);
  }

  private cutShort(): never {
    throw new InputError(`${this.what} is damaged or cut short`);
  }
}
