/** A sustained benchmark's figures: early against late, and the curve. */
import { summary, type Summary } from "./statistics";

/** Times of inferences: at in seconds since the beginning, ms. */
export interface Series {
  readonly at: readonly number[];
  readonly ms: readonly number[];
}

export interface Sustained {
  readonly first: Summary;
  readonly last: Summary;
  /** How much slower the last part's median is, percent; negative where it is faster. */
  readonly loss_percent: number;
}

/** The first and last `part` seconds; null where the series isn't twice as long. */
export function sustained({ at, ms }: Series, part: number): Sustained | null {
  const end = at.at(-1) ?? 0;
  if (end < 2 * part) return null;
  const first = summary(ms.filter((_, i) => at[i]! < part));
  const last = summary(ms.filter((_, i) => at[i]! >= end - part));
  return { first, last, loss_percent: (last.p50 / first.p50 - 1) * 100 };
}

/** Medians of `count` equal stretches of time; NaN where a stretch is empty. */
export function curve({ at, ms }: Series, count: number): number[] {
  const end = at.at(-1) ?? 0;
  const groups: number[][] = Array.from({ length: count }, () => []);
  at.forEach((t, i) => {
    const group = end > 0 ? Math.min(count - 1, Math.floor((t / end) * count)) : 0;
    groups[group]!.push(ms[i]!);
  });
  return groups.map((g) => summary(g).p50);
}

/** Round values above 0 and up to `top`, two to five of them, in steps of 1, 2 or 5 times a power of ten. */
export function ticks(top: number): number[] {
  const power = 10 ** Math.floor(Math.log10(top / 2));
  const step = power * Math.max(...[1, 2, 5].filter((n) => n * power <= top / 2));
  const count = Math.floor(top / step + 1e-9);
  return Array.from({ length: count }, (_, i) => Number(((i + 1) * step).toPrecision(6)));
}

/** A summary under the names of the record, in milliseconds. */
export function members({ runs, p50, p90, p99, min, max, mean }: Summary): Record<string, number> {
  return { runs, p50_ms: p50, p90_ms: p90, p99_ms: p99, min_ms: min, max_ms: max, mean_ms: mean };
}
