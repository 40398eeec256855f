/** Encoded images and camera frames to pixels, by the browser's own decoders. */
import { pictureOf, type Picture, type Pixels, type Rectangle } from "../core/image";
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
  return readBitmap(bitmap, { left: 0, top: 0, width: bitmap.width, height: bitmap.height });
}

/** An image file, of which the part that is needed is read; rejects where it can't be decoded. */
export async function openImage(encoded: Uint8Array): Promise<Picture> {
  const png = await decodePng(encoded);
  if (png !== null) return pictureOf(png);
  return bitmapPicture(await createImageBitmap(new Blob([encoded as BlobPart]), AS_STORED));
}

/** A bitmap, which is closed once it is read. */
export function bitmapPicture(bitmap: ImageBitmap): Picture {
  const { width, height } = bitmap;
  return {
    width,
    height,
    read: (needed) => ({ pixels: readBitmap(bitmap, needed), left: needed.left, top: needed.top }),
  };
}

/** Kept from frame to frame. */
let context: OffscreenCanvasRenderingContext2D | null = null;

/** A rectangle of a bitmap, four channels; the bitmap is closed. */
function readBitmap(bitmap: ImageBitmap, { left, top, width, height }: Rectangle): Pixels {
  if (context?.canvas.width !== width || context.canvas.height !== height) {
    context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  }
  if (context === null) throw new Error("this browser gives no 2D canvas to a worker");
  // Nothing shows through of the picture before.
  context.globalCompositeOperation = "copy";
  context.drawImage(bitmap, -left, -top);
  bitmap.close();
  return { width, height, channels: 4, data: context.getImageData(0, 0, width, height).data };
}
