/** Labelled images from a folder of a folder for each class, as mobilemod/data/imagefolder.py reads them. */
import { InputError } from "./errors";
import type { Label } from "./manifest";

const IMAGE = /\.(jpe?g|png|webp|bmp|gif)$/i;

export interface Labelled<T> {
  readonly file: T;
  /** Below the folder of the classes. */
  readonly name: string;
  readonly target: number;
}

/**
 * Those whose folder is a class by its id or its label, sorted by name. Where there are several splits
 * the one that is called val is taken, else test. path: of a file, "/" between folders. Throws
 * `InputError` where there is none.
 */
export function labelledFiles<T>(files: readonly T[], path: (file: T) => string, labels: readonly Label[]): Labelled<T>[] {
  const plain = (text: string): string => text.toLowerCase().replace(/[\s_-]+/g, " ");
  const index = new Map<string, number>();
  for (const [i, { id, label }] of labels.entries()) index.set(plain(label), i).set(plain(id), i);
  const found = files.flatMap((file) => {
    const parts = path(file).split("/");
    const [split, folder, name] = [parts.at(-3) ?? "", parts.at(-2) ?? "", parts.at(-1)!];
    const target = index.get(plain(folder));
    const fits = target !== undefined && IMAGE.test(name) && !name.startsWith(".");
    return fits ? [{ file, name: `${folder}/${name}`, target, split }] : [];
  });
  const splits = new Set(found.map(({ split }) => split));
  const chosen = ["val", "validation", "test"].find((split) => splits.has(split));
  const taken = splits.size > 1 && chosen !== undefined ? found.filter(({ split }) => split === chosen) : found;
  if (taken.length === 0) {
    const some = labels.slice(0, 2).map(({ id }) => id).join(", ");
    throw new InputError(`No image lies in a folder that is called as a class of this model (${some}, …).`);
  }
  return taken
    .map(({ file, name, target }) => ({ file, name, target }))
    .sort((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
}

/** `count` of them, evenly over all. */
export function spread<T>(all: readonly T[], count: number): T[] {
  if (count >= all.length) return [...all];
  return Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]!);
}
