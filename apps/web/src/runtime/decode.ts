/** Encoded images and camera frames to pixels, by the browser's own decoders. */
import type { Pixels } from "../core/image";
import { decodePng } from "../core/png";

/** As stored: no colour conversion and no multiplied alpha, but turned as EXIF says, as Python does. */
const AS_STORED: ImageBitmapOptions = {
  colorSpaceConversion: "none",
  premultiplyAlpha: "none",
  imageOrientation: "from-image",
};

/** Decodes an image file; rejects where it can't be decoded. */
export async function decodeImage(encoded: Uint8Array): Promise<Pixels> {
  return (await decodePng(encoded)) ?? (await decodeByBrowser(encoded));
}

/** The same by the browser's decoder and canvas, for PNG too. */
export async function decodeByBrowser(encoded: Uint8Array): Promise<Pixels> {
  const bitmap = await createImageBitmap(new Blob([encoded as BlobPart]), AS_STORED);
  return readBitmap(bitmap);
}

/** A bitmap's pixels, four channels; the bitmap is closed. */
export function readBitmap(bitmap: ImageBitmap): Pixels {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("this browser gives no 2D canvas to a worker");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, channels: 4, data: context.getImageData(0, 0, width, height).data };
}
