/** The classes of a result, best first. */

/** A class index and its logit. */
export type Scored = [number, number];

/** The best `k`; of equal logits the lower class comes first, what isn't finite is left out. */
export function topK(logits: ArrayLike<number>, k: number): Scored[] {
  const all: Scored[] = [];
  for (let c = 0; c < logits.length; c++) {
    if (Number.isFinite(logits[c])) all.push([c, logits[c]!]);
  }
  return all.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, k);
}

/** Probabilities (softmax) of logits; what isn't finite gets 0. */
export function softmax(logits: ArrayLike<number>): Float64Array {
  const best = topK(logits, 1)[0]?.[1] ?? 0;
  const out = Float64Array.from(logits, (v) => (Number.isFinite(v) ? Math.exp(v - best) : 0));
  const sum = out.reduce((a, b) => a + b, 0);
  return sum > 0 ? out.map((v) => v / sum) : out;
}
