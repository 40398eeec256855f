/** Statistics of series of milliseconds. */

/** The value at rank ceil(q n / 100) of the sorted values; NaN of none. q: whole percent, 1 to 100. */
export function percentile(values: readonly number[], q: number): number {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((q * sorted.length + 99) / 100) - 1]!;
}

export interface Summary {
  readonly runs: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
}

export function summary(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number): number => sorted[Math.floor((q * sorted.length + 99) / 100) - 1] ?? NaN;
  return {
    runs: sorted.length,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    min: sorted[0] ?? NaN,
    max: sorted[sorted.length - 1] ?? NaN,
    mean: sorted.reduce((a, b) => a + b, 0) / sorted.length,
  };
}

function medianOfEight(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[3]! + sorted[4]!) / 2;
}

/**
 * Whether warm-up is over: the median of the last eight within 5 % of the median of the eight
 * before, or `max` runs done.
 */
export function warmedUp(milliseconds: readonly number[], max: number): boolean {
  const n = milliseconds.length;
  if (n >= max) return true;
  if (n < 16) return false;
  const last = medianOfEight(milliseconds.slice(n - 8));
  const before = medianOfEight(milliseconds.slice(n - 16, n - 8));
  return Math.abs(last - before) <= 0.05 * before;
}

/** The last `size` values of a series, for figures that follow what is running. */
export class Window {
  private readonly values: number[] = [];

  constructor(private readonly size: number) {}

  push(value: number): void {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  get length(): number {
    return this.values.length;
  }

  percentile(q: number): number {
    return percentile(this.values, q);
  }
}
