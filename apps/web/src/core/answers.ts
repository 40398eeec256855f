/** What lines tell of a file's output: logits, or, of a network of maps, the map as its runs. */
import type { Manifest } from "./manifest";
import type { ClassMap } from "./maps/map";
import { toRuns } from "./maps/runs";
import { classMap, mapGiven, orderOf, scoresOf } from "./maps/scores";
import type { Values } from "./protocol";
import { sha256, sha256OfFloats } from "./sha256";
import { topK } from "./topk";

const TOP = 5;

/** What the outputs of a manifest's files are. */
export type Outputs = Pick<Manifest, "map" | "givesClasses" | "labels">;

/** The map of an output of a file of `target`; null where outputs are no maps. */
export function mapOf(outputs: Outputs, target: string, output: Float32Array): ClassMap | null {
  const { map, givesClasses, labels } = outputs;
  if (map === null) return null;
  if (givesClasses) return mapGiven(output, map, labels.length);
  return classMap(scoresOf(output, map, labels.length, orderOf(target)));
}

/** Of a `golden` line. */
export function goldenAnswer(outputs: Outputs, target: string, output: Float32Array): Values {
  const map = mapOf(outputs, target, output);
  return map === null ? { logits: Array.from(output) } : { runs: toRuns(map) };
}

/** Of an `image` line. withLogits: where they are no map. */
export function imageAnswer(
  outputs: Outputs,
  target: string,
  output: Float32Array,
  withLogits: boolean,
): Values {
  const map = mapOf(outputs, target, output);
  if (map !== null) return { top: [], runs: toRuns(map), logits_sha256: sha256(map.codes) };
  const logits = withLogits ? { logits: Array.from(output) } : {};
  return { top: topK(output, TOP), logits_sha256: sha256OfFloats(output), ...logits };
}
