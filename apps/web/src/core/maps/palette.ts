/** The colours of classes, as reports have them. */
import { NONE } from "./map";

const NOTHING: Colour = [232, 232, 232];

export type Colour = readonly [red: number, green: number, blue: number];

/**
 * By the bits of the class's number. Source: the colour map of the PASCAL VOC development kit, from
 * its colour 1 on, for its colour 0 is black.
 */
export function colourOf(code: number): Colour {
  if (code === NONE) return NOTHING;
  const colour: [number, number, number] = [0, 0, 0];
  for (let bit = 7, rest = code + 1; bit >= 0; bit--, rest >>= 3) {
    for (const channel of [0, 1, 2] as const) colour[channel] |= ((rest >> channel) & 1) << bit;
  }
  return colour;
}
