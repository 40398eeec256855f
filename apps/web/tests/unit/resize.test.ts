import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { pictureOf, type Picture, type Pixels, type Rectangle } from "../../src/core/image";
import { resizeAndCrop } from "../../src/core/resize";
import { assembled } from "../../tools/wat.mjs";
import { draw } from "./vectors";

test("the passes are what their source says", async () => {
  const written = new URL("../../src/core/simd/passes.ts", import.meta.url);
  expect(await assembled()).toBe(readFileSync(written, "utf8"));
});

function cut(image: Pixels, { left, top, width, height }: Rectangle): Pixels {
  const data = new Uint8Array(width * height * image.channels);
  const row = width * image.channels;
  for (let y = 0; y < height; y++) {
    const begin = ((top + y) * image.width + left) * image.channels;
    data.set(image.data.subarray(begin, begin + row), y * row);
  }
  return { ...image, width, height, data };
}

test.each([
  [400, 300, 40, 30],
  [60, 500, 30, 250],
  [31, 17, 62, 34],
])("of %i x %i only what the crop of %i x %i needs is read", (wide, high, width, height) => {
  const crop = { left: 5, top: 4, width: 19, height: 16 };
  for (const channels of [1, 3, 4] as const) {
    const image = draw("noise", wide, high, channels);
    const asked: Rectangle[] = [];
    const part: Picture = {
      ...pictureOf(image),
      read(needed) {
        asked.push(needed);
        return { pixels: cut(image, needed), left: needed.left, top: needed.top };
      },
    };
    for (const kind of ["nearest", "bilinear", "bicubic"] as const) {
      const whole = resizeAndCrop(pictureOf(image), width, height, crop, kind);
      expect(resizeAndCrop(part, width, height, crop, kind)).toEqual(whole);
    }
    for (const needed of asked) expect(needed.width * needed.height).toBeLessThan(wide * high * 0.9);
  }
});
