/** The one value of EXIF that pixels need. Source: TIFF 6.0, EXIF 2.32. */

const ORIENTATION = 0x0112;
const SHORT = 3;
const LONG = 4;

/** The orientation, 1 to 8, that an EXIF block (with or without "Exif\0\0") holds; 1 for any other. */
export function orientationOf(block: Uint8Array): number {
  const prefixed = String.fromCharCode(...block.subarray(0, 6)) === "Exif\0\0";
  const tiff = prefixed ? block.subarray(6) : block;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let i = 0, count = view.getUint16(directory, little); i < count; i++) {
      const entry = directory + 2 + 12 * i;
      if (view.getUint16(entry, little) !== ORIENTATION) continue;
      const type = view.getUint16(entry + 2, little);
      const value = type === LONG ? view.getUint32(entry + 8, little) : view.getUint16(entry + 8, little);
      return (type === SHORT || type === LONG) && value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // reads past the end: no EXIF
  }
  return 1;
}
