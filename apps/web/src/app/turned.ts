/** Whether the browser turns a photo as its EXIF data says, as the preprocessing needs it. */

/** A JPEG of 16 x 8 pixels, left half white, with EXIF orientation 6: meant to be seen 8 x 16, top white. */
const TURNED =
  "/9j/4AAQSkZJRgABAQAAAQABAAD/4QAiRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAD/2wBDAA0JCgsKCA0L" +
  "CgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//wAALCAAIABABAREA" +
  "/8QAFQABAQAAAAAAAAAAAAAAAAAABwj/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AE5MT//Z";

export async function readsTurned(): Promise<boolean> {
  const bytes = Uint8Array.from(atob(TURNED), (c) => c.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes]), { imageOrientation: "from-image" });
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d")!;
  context.drawImage(bitmap, 0, 0);
  const red = (y: number): number => context.getImageData(4, y, 1, 1).data[0]!;
  return width === 8 && height === 16 && red(2) > 200 && red(13) < 50;
}
