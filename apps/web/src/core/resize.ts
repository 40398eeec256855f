/**
 * Pillow's resize, to the bit: weights in fixed point (axis.ts), two passes, each rounded to 8 bits.
 * Only the rows and columns that a crop keeps are computed, by WebAssembly (simd/passes.wat), which
 * is as fast on the first photograph as later. Method: Pillow's Resample.c.
 */
import { axisOf, rangeOf, type Axis } from "./axis";
import { toRgb, type Picture, type Pixels, type Rectangle } from "./image";
import type { Interpolation } from "./manifest";
import { PASSES } from "./simd/passes";

interface Passes {
  readonly memory: WebAssembly.Memory;
  widen(from: number, to: number, pixels: number): void;
  across(
    from: number, fromStride: number, to: number, toStride: number,
    width: number, first: number, weights: number, taps: number,
  ): void;
  down(from: number, fromStride: number, to: number, bytes: number, weights: number, taps: number): void;
}

const PAGE = 65536;
/** Bits of a weight's lower part. */
const LOW = 11;
let passes: Passes | null = null;

function started(): Passes {
  if (passes === null) {
    const module = new WebAssembly.Module(Uint8Array.from(atob(PASSES), (c) => c.charCodeAt(0)));
    passes = new WebAssembly.Instance(module).exports as unknown as Passes;
  }
  return passes;
}

const upTo = (value: number, step: number): number => Math.ceil(value / step) * step;

/** Hands out stretches of the passes' memory, which may be read and written 16 bytes beyond. */
class Space {
  private end = 0;

  take(bytes: number): number {
    const begin = this.end;
    this.end = upTo(begin + bytes + 16, 16);
    return begin;
  }

  /** The memory, large enough for what was handed out. */
  bytes(): Uint8Array {
    const { memory } = started();
    const missing = this.end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return new Uint8Array(memory.buffer);
  }
}

/**
 * `rectangle` of `image` resized to `width` x `height`, as three channels: grey is repeated, alpha is
 * dropped. The result equals resizing the whole and cropping then.
 */
export function resizeAndCrop(
  image: Picture,
  width: number,
  height: number,
  rectangle: Rectangle,
  interpolation: Interpolation,
): Pixels {
  const rows = axisOf(image.height, height, rectangle.top, rectangle.height, interpolation);
  const columns = axisOf(image.width, width, rectangle.left, rectangle.width, interpolation);
  const [top, bottom] = rangeOf(rows);
  const [left, right] = rangeOf(columns);
  const part = image.read({ left, top, width: right - left, height: bottom - top });
  const own = part.pixels.channels <= 2 ? toRgb(part.pixels) : part.pixels;
  const { channels } = own;
  // Pillow's order, which shows in the last bit.
  const downFirst = image.height - height > Math.max(0, 2 * (image.width - width));
  const space = new Space();
  const pixels = right - left;
  const outStride = upTo(4 * rectangle.width, 16);
  const out = space.take((rectangle.height + 1) * outStride);
  // Rows that `down` reads: of the image as they are, or already resized.
  const stride = downFirst ? upTo(pixels * channels, 16) : outStride;
  const held = downFirst ? Math.max(...rows.count) : bottom - top;
  const block = space.take((held + 1) * stride);
  const down = new Down(space, rows);
  const across = new Across(space, columns, left, pixels, channels);
  const memory = space.bytes();
  down.write(memory);
  across.write(memory);
  const read = (y: number, to: number): void => {
    const begin = ((y - part.top) * own.width + left - part.left) * channels;
    memory.set(own.data.subarray(begin, begin + pixels * channels), to);
  };
  if (downFirst) {
    across.run(rectangle.height, out, outStride, (y, to) => {
      for (let k = 0; k < rows.count[y]!; k++) read(rows.first[y]! + k, block + k * stride);
      down.run(y, block, stride, to, pixels * channels);
    });
  } else {
    across.run(held, block, stride, (y, to) => read(top + y, to));
    for (let y = 0; y < rectangle.height; y++) {
      down.run(y, block + (rows.first[y]! - top) * stride, stride, out + y * outStride, outStride);
    }
  }
  return withoutFourth(memory, out, outStride, rectangle);
}

/** Rows to one row each time. */
class Down {
  private readonly weights: Packed;
  private readonly at: number;

  constructor(space: Space, private readonly axis: Axis) {
    this.weights = packed(axis, 2);
    this.at = space.take(this.weights.words.byteLength);
  }

  write(memory: Uint8Array): void {
    memory.set(bytesOf(this.weights.words), this.at);
  }

  /** Output `y` of the rows from its first on, which lie at `from`. */
  run(y: number, from: number, stride: number, to: number, bytes: number): void {
    const weights = this.at + 4 * y * this.weights.taps;
    started().down(from, stride, to, bytes, weights, upTo(this.axis.count[y]!, 2));
  }
}

/** Rows of pixels to rows of as many four-channel pixels as the axis has outputs. */
class Across {
  private readonly weights: Packed;
  private readonly first: Int32Array;
  private readonly at: { readonly weights: number; readonly first: number; readonly raw: number; readonly wide: number };
  private readonly stride: number;

  /** pixels: of a row, the first of which is the axis' position `left`. */
  constructor(space: Space, axis: Axis, left: number, private readonly pixels: number, private readonly channels: number) {
    this.weights = packed(axis, 4);
    this.first = axis.first.map((at) => 4 * (at - left));
    this.stride = upTo(4 * pixels + 16 * 4, 16);
    const wide = space.take(2 * this.stride + 4 * this.weights.taps);
    this.at = {
      weights: space.take(this.weights.words.byteLength),
      first: space.take(this.first.byteLength),
      raw: channels === 4 ? wide : space.take(2 * this.stride),
      wide,
    };
  }

  write(memory: Uint8Array): void {
    memory.set(bytesOf(this.weights.words), this.at.weights);
    memory.set(bytesOf(this.first), this.at.first);
  }

  /** `read` puts a row where it is told. There is to be room for a row more. */
  run(height: number, to: number, toStride: number, read: (y: number, to: number) => void): void {
    const { across, widen } = started();
    const { raw, wide, first, weights } = this.at;
    const { stride, pixels } = this;
    for (let y = 0; y < height; y += 2) {
      read(y, raw);
      if (y + 1 < height) read(y + 1, raw + stride);
      if (this.channels === 3) {
        widen(raw, wide, pixels);
        widen(raw + stride, wide + stride, pixels);
      }
      across(wide, stride, to + y * toStride, toStride, this.first.length, first, weights, this.weights.taps);
    }
  }
}

interface Packed {
  /** Of each output, a multiple of the group. */
  readonly taps: number;
  readonly words: Int16Array;
}

/** An axis' weights as the passes read them: of each `group` the upper parts, then the lower ones. */
function packed({ first, count, weights, stride }: Axis, group: 2 | 4): Packed {
  const taps = upTo(Math.max(...count), group);
  const words = new Int16Array(2 * taps * first.length);
  for (let i = 0; i < first.length; i++) {
    for (let k = 0; k < count[i]!; k++) {
      const weight = weights[i * stride + k]!;
      const to = 2 * (i * taps + k - (k % group)) + (k % group);
      words[to] = weight >> LOW;
      words[to + group] = weight & ((1 << LOW) - 1);
    }
  }
  return { taps, words };
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function withoutFourth(memory: Uint8Array, at: number, stride: number, { width, height }: Rectangle): Pixels {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, from = at + y * stride; x < width; x++, from += 4) {
      data[to++] = memory[from]!;
      data[to++] = memory[from + 1]!;
      data[to++] = memory[from + 2]!;
    }
  }
  return { width, height, channels: 3, data };
}
