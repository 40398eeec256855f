/** The bundle's manifest: the only place that the app knows the network from. */
import { InputError } from "./errors";
import type { Size } from "./maps/map";
import { fromRuns } from "./maps/runs";

export const MANIFEST_SCHEMA = "mobilemod/manifest/1";

const MOST_PIXELS = 4096;
const MOST_CLASSES = 255;

/** Whether the image keeps its sides' ratio, and loses what juts out, or takes the input's. */
export type Fit = "crop" | "stretch" | "letterbox";

export type Interpolation = "nearest" | "bilinear" | "bicubic";
const INTERPOLATIONS: readonly string[] = ["nearest", "bilinear", "bicubic"];

/** How a decoded image becomes the network's input; lengths in pixels, mean and std of 0…1 values. */
export interface Preprocess {
  readonly height: number;
  readonly width: number;
  readonly cropFraction: number;
  readonly interpolation: Interpolation;
  readonly fit: Fit;
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

export interface Label {
  readonly id: string;
  readonly label: string;
}

export interface ModelFile {
  readonly file: string;
  readonly target: string;
  readonly precision: string;
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * An image (a PNG of exactly the input's pixels) and each model file's answer by its name: logits, or
 * the runs of a map.
 */
export interface Golden {
  readonly image: string;
  readonly answers: Readonly<Record<string, readonly number[]>>;
}

export interface Manifest {
  readonly model: string;
  readonly recipe: string;
  /** Of a map, where the files make one; else null. */
  readonly map: Size | null;
  /** Whether they give it themselves, uint8, not scores for each class at each pixel. */
  readonly givesClasses: boolean;
  readonly labels: readonly Label[];
  readonly preprocess: Preprocess;
  readonly files: readonly ModelFile[];
  readonly golden: readonly Golden[];
}

type Json = Record<string, unknown>;

/** Reads a manifest; throws `InputError` that names what is wrong. Unknown keys are ignored. */
export function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError("manifest.json is damaged: it is no JSON");
  }
  const root = asObject(value, "manifest.json");
  if (root.schema !== MANIFEST_SCHEMA) {
    throw new InputError(
      `manifest.json has schema ${JSON.stringify(root.schema)}; expected ${MANIFEST_SCHEMA}`,
    );
  }
  const labels = asArray(root.labels, "labels").map((entry, i) => {
    const label = asObject(entry, `labels[${i}]`);
    return { id: asString(label.id, "id"), label: asString(label.label, "label") };
  });
  if (labels.length === 0 || labels.length !== root.num_classes) {
    throw new InputError(`manifest.json: ${labels.length} labels for ${root.num_classes} classes`);
  }
  const recipe = asObject(root.recipe, "recipe");
  const map = root.map == null ? null : parseMap(root.map, labels.length);
  return {
    model: asString(root.model, "model"),
    recipe: typeof recipe.name === "string" ? recipe.name : "",
    map,
    givesClasses: parseAnswer(root.answer, map),
    labels,
    preprocess: parsePreprocess(root.preprocess),
    files: asArray(root.files, "files").map(parseFile),
    golden: asArray(root.golden, "golden").map((golden, i) => parseGolden(golden, i, map)),
  };
}

/** Reads a manifest's `preprocess`; an unknown key is an error, since it would change the input. */
export function parsePreprocess(value: unknown): Preprocess {
  const known = ["size", "crop_fraction", "interpolation", "mean", "std", "color", "layout", "fit"];
  const spec = asObject(value, "preprocess");
  const unknown = Object.keys(spec).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new InputError(`preprocess: unknown key "${unknown}"`);
  const [height, width] = parseSides(spec.size);
  const cropFraction = asNumber(spec.crop_fraction, "preprocess.crop_fraction");
  if (!(cropFraction > 0 && cropFraction <= 1)) {
    throw new InputError(`preprocess.crop_fraction ${cropFraction} is not in (0, 1]`);
  }
  const interpolation = asString(spec.interpolation, "preprocess.interpolation");
  if (!INTERPOLATIONS.includes(interpolation)) {
    throw new InputError(
      `preprocess.interpolation "${interpolation}" is not one of ${INTERPOLATIONS.join(", ")}`,
    );
  }
  const fit = spec.fit ?? "crop";
  if (fit !== "crop" && fit !== "stretch" && fit !== "letterbox") {
    throw new InputError(
      `preprocess.fit ${JSON.stringify(fit)} is not crop, stretch or letterbox`,
    );
  }
  if (spec.color !== "RGB") throw new InputError(`preprocess.color ${spec.color} is not RGB`);
  if (spec.layout !== "NCHW") throw new InputError(`preprocess.layout ${spec.layout} is not NCHW`);
  return {
    height,
    width,
    cropFraction,
    interpolation: interpolation as Interpolation,
    fit,
    mean: asTriple(spec.mean, "preprocess.mean"),
    std: asTriple(spec.std, "preprocess.std"),
  };
}

/** Height and width: one number is a square's. */
function parseSides(size: unknown): [number, number] {
  const sides = Array.isArray(size) ? size : [size, size];
  if (sides.length !== 2 || !sides.every((side) => Number.isInteger(side) && side >= 16)) {
    const text = JSON.stringify(size);
    throw new InputError(
      `preprocess.size ${text}: must be a whole number, at least 16, or height and width of such`,
    );
  }
  return sides as [number, number];
}

function parseFile(value: unknown, i: number): ModelFile {
  const entry = asObject(value, `files[${i}]`);
  const bytes = asNumber(entry.bytes, `files[${i}].bytes`);
  const [file, target, precision, sha256] = ["file", "target", "precision", "sha256"].map((key) =>
    asString(entry[key], `files[${i}].${key}`),
  ) as [string, string, string, string];
  return { file, target, precision, sha256, bytes };
}

function parseMap(value: unknown, classes: number): Size {
  const sides = asArray(value, "map").map((side) => asNumber(side, "map"));
  const [height, width] = sides as [number, number];
  if (sides.length !== 2 || !sides.every((s) => Number.isInteger(s) && s >= 1 && s <= MOST_PIXELS)) {
    throw new InputError(`map ${JSON.stringify(value)}: must be height and width, from 1 to ${MOST_PIXELS}`);
  }
  if (classes > MOST_CLASSES) {
    throw new InputError(`manifest.json: ${classes} classes; a map has at most ${MOST_CLASSES}`);
  }
  return { height, width };
}

function parseAnswer(value: unknown, map: Size | null): boolean {
  const known = map === null ? ["scores"] : ["scores", "classes"];
  const answer = value ?? "scores";
  if (!known.includes(answer as string)) {
    throw new InputError(`manifest.json: answer ${JSON.stringify(value)} is not one of ${known.join(", ")}`);
  }
  return answer === "classes";
}

function parseGolden(value: unknown, i: number, map: Size | null): Golden {
  const entry = asObject(value, `golden[${i}]`);
  const where = `golden[${i}].${map === null ? "logits" : "runs"}`;
  const answers: Record<string, number[]> = {};
  for (const [name, list] of Object.entries(asObject(map === null ? entry.logits : entry.runs, where))) {
    answers[name] = asArray(list, `${where}.${name}`).map((v) => asNumber(v, name));
    if (map !== null) fromRuns(answers[name], map);
  }
  return { image: asString(entry.image, `golden[${i}].image`), answers };
}

export function asObject(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${where} is missing or no object`);
  }
  return value as Json;
}

export function asArray(value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw new InputError(`${where} is missing or no list`);
  return value;
}

export function asString(value: unknown, where: string): string {
  if (typeof value !== "string") throw new InputError(`${where} is missing or no text`);
  return value;
}

export function asNumber(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new InputError(`${where} is missing or no number`);
  }
  return value;
}

function asTriple(value: unknown, where: string): [number, number, number] {
  const list = asArray(value, where).map((v) => asNumber(v, where));
  if (list.length !== 3) throw new InputError(`${where} must hold three numbers`);
  return list as [number, number, number];
}
