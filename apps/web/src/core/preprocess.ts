/** From a decoded image to the network's input, as `mobilemod/data/preprocess.py` does it. */
import { InputError } from "./errors";
import { pictureOf, type Picture, type Pixels } from "./image";
import type { Preprocess } from "./manifest";
import { resizeAndCrop } from "./resize";

/** Rounds half to even, as Python does. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The resized image, cropped to its centre or with bars: three channels, `height` x `width`. */
export function preprocessPixels(image: Pixels, spec: Preprocess): Pixels {
  return preprocessPicture(pictureOf(image), spec);
}

/** The same of an image that is read as far as it is needed. */
export function preprocessPicture(image: Picture, spec: Preprocess): Pixels {
  if (image.width < 1 || image.height < 1) throw new InputError("the image is empty");
  const [width, height] = resized(image, spec);
  const crop = {
    left: Math.floor(Math.max(0, width - spec.width) / 2),
    top: Math.floor(Math.max(0, height - spec.height) / 2),
    width: Math.min(width, spec.width),
    height: Math.min(height, spec.height),
  };
  return setIn(resizeAndCrop(image, width, height, crop, spec.interpolation), spec);
}

/** RGB pixels in the middle of the input, what is nearest to 0 when normalized beside them. */
function setIn(image: Pixels, spec: Preprocess): Pixels {
  if (image.width === spec.width && image.height === spec.height) return image;
  const bar = spec.mean.map((m) =>
    Math.min(255, Math.max(0, roundHalfEven(255 * Math.fround(m)))),
  );
  const data = new Uint8Array(3 * spec.width * spec.height);
  for (let i = 0; i < data.length; i++) data[i] = bar[i % 3]!;
  const left = Math.floor((spec.width - image.width) / 2);
  const top = Math.floor((spec.height - image.height) / 2);
  const row = 3 * image.width;
  for (let y = 0; y < image.height; y++) {
    data.set(image.data.subarray(y * row, (y + 1) * row), 3 * ((top + y) * spec.width + left));
  }
  return { width: spec.width, height: spec.height, channels: 3, data };
}

/** Width and height that an image becomes, before the centre is cropped. */
function resized(image: Picture, spec: Preprocess): [number, number] {
  const width = roundHalfEven(spec.width / spec.cropFraction);
  const height = roundHalfEven(spec.height / spec.cropFraction);
  if (spec.fit === "stretch") return [width, height];
  if (spec.fit === "letterbox") {
    const scale = Math.min(width / image.width, height / image.height);
    return [
      Math.max(1, roundHalfEven(image.width * scale)),
      Math.max(1, roundHalfEven(image.height * scale)),
    ];
  }
  const scale = Math.max(width / image.width, height / image.height);
  return [
    Math.max(width, roundHalfEven(image.width * scale)),
    Math.max(height, roundHalfEven(image.height * scale)),
  ];
}

/** Order of the input's axes: "NCHW" colour planes, "NHWC" colours side by side. */
export type Layout = "NCHW" | "NHWC";

/** float32 values of three-channel pixels: divided by 255, then (x - mean) / std. */
export function normalize(
  pixels: Pixels,
  spec: Preprocess,
  layout: Layout = "NCHW",
): Float32Array<ArrayBuffer> {
  const count = pixels.width * pixels.height;
  const out = new Float32Array(count * 3);
  for (let c = 0; c < 3; c++) {
    // Every step in float32, as NumPy computes it.
    const mean = Math.fround(spec.mean[c]!);
    const std = Math.fround(spec.std[c]!);
    const table = new Float32Array(256);
    for (let v = 0; v < 256; v++) {
      table[v] = Math.fround(Math.fround(Math.fround(v / 255) - mean) / std);
    }
    const [first, step] = layout === "NCHW" ? [c * count, 1] : [c, 3];
    for (let i = 0, from = c, to = first; i < count; i++, from += 3, to += step) {
      out[to] = table[pixels.data[from]!]!;
    }
  }
  return out;
}
