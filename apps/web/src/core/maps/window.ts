/** The part of an image that a network sees. */
import type { Preprocess } from "../manifest";
import { NONE, type ClassMap, type Size } from "./map";

/** Corner and sides as fractions of an upright image's; beyond it where there are bars. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** The part of an upright image that becomes the network's input, and so that its map covers. */
export function windowOf(spec: Preprocess, image: Size): Window {
  const across = spec.width / spec.cropFraction / image.width;
  const down = spec.height / spec.cropFraction / image.height;
  const scale = spec.fit === "letterbox" ? Math.min(across, down) : Math.max(across, down);
  const [byWidth, byHeight] = spec.fit === "stretch" ? [across, down] : [scale, scale];
  const width = spec.width / (image.width * byWidth);
  const height = spec.height / (image.height * byHeight);
  return { left: (1 - width) / 2, top: (1 - height) / 2, width, height };
}

/** The map with `NONE` where it lies on bars beside the image. */
export function withoutBars(map: ClassMap, { left, top, width, height }: Window): ClassMap {
  const isInside = (begin: number, length: number, at: number, count: number): boolean => {
    const centre = begin + ((at + 0.5) / count) * length;
    return centre >= 0 && centre <= 1;
  };
  const codes = map.codes.map((code, i) => {
    const [x, y] = [i % map.width, Math.floor(i / map.width)];
    const inside = isInside(left, width, x, map.width) && isInside(top, height, y, map.height);
    return inside ? code : NONE;
  });
  return { ...map, codes };
}
