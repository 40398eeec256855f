/** A map's rows as the lengths of its runs: class, count, class, count, … */
import { InputError } from "../errors";
import { NONE, type ClassMap, type Size } from "./map";

export function toRuns({ codes }: ClassMap): number[] {
  const runs: number[] = [];
  codes.forEach((code, i) => {
    if (i > 0 && code === codes[i - 1]) runs[runs.length - 1]!++;
    else runs.push(code, 1);
  });
  return runs;
}

/** Throws `InputError` for what aren't the runs of a map of that size. */
export function fromRuns(runs: readonly number[], { height, width }: Size): ClassMap {
  const codes = new Uint8Array(height * width);
  const wrong = (what: string): InputError => new InputError(`these are no runs of a map: ${what}`);
  if (runs.length % 2 !== 0) throw wrong("a class or a count lacks its other");
  let at = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const [code, count] = [runs[i]!, runs[i + 1]!];
    if (!Number.isInteger(code) || code < 0 || code > NONE) throw wrong(`${code} is no class`);
    if (!Number.isInteger(count) || count < 1) throw wrong(`${count} is no count`);
    if (i > 0 && code === runs[i - 2]) throw wrong(`class ${code} follows itself`);
    if (count > codes.length - at) throw wrong(`more than ${codes.length} pixels`);
    codes.fill(code, at, (at += count));
  }
  if (at !== codes.length) throw wrong(`${at} pixels of ${codes.length}`);
  return { height, width, codes };
}
