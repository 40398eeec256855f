/** A decoded image: 8 bits a channel, row by row, channels interleaved. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA (alpha not multiplied in). */
  readonly channels: 1 | 2 | 3 | 4;
  /** Uint8 (height, width, channels). */
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** Of an image, in pixels. */
export interface Rectangle {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** An upright image, of which the part that is needed is read. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Pixels that hold the rectangle, and where the first of them lies. */
  read(needed: Rectangle): { readonly pixels: Pixels; readonly left: number; readonly top: number };
}

export function pictureOf(pixels: Pixels): Picture {
  const { width, height } = pixels;
  return { width, height, read: () => ({ pixels, left: 0, top: 0 }) };
}

/** To three channels as Pillow's `convert("RGB")`: grey is repeated, alpha is dropped. */
export function toRgb(image: Pixels): Pixels {
  const { width, height, channels, data } = image;
  if (channels === 3) return image;
  const out = new Uint8Array(width * height * 3);
  const grey = channels <= 2;
  for (let from = 0, to = 0; to < out.length; from += channels, to += 3) {
    out[to] = data[from]!;
    out[to + 1] = data[grey ? from : from + 1]!;
    out[to + 2] = data[grey ? from : from + 2]!;
  }
  return { width, height, channels: 3, data: out };
}

/** The image as it is meant to be seen. orientation: EXIF's, 1 to 8; others leave it as it is. */
export function orient(image: Pixels, orientation: number): Pixels {
  if (!(orientation >= 2 && orientation <= 8)) return image;
  const { width, height, channels, data } = image;
  const swap = orientation >= 5;
  const outWidth = swap ? height : width;
  const outHeight = swap ? width : height;
  // Where the source runs backwards along its own axes.
  const flipX = [2, 3, 7, 8].includes(orientation);
  const flipY = [3, 4, 6, 7].includes(orientation);
  const out = new Uint8Array(data.length);
  let to = 0;
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      const alongX = swap ? y : x;
      const alongY = swap ? x : y;
      const sourceX = flipX ? width - 1 - alongX : alongX;
      const sourceY = flipY ? height - 1 - alongY : alongY;
      let from = (sourceY * width + sourceX) * channels;
      for (let c = 0; c < channels; c++) out[to++] = data[from++]!;
    }
  }
  return { width: outWidth, height: outHeight, channels, data: out };
}
