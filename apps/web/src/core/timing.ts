/** Configurations timed in turns, every value kept. */
import type { Values } from "./protocol";
import { round } from "./protocol";
import { warmedUp } from "./statistics";

/** Milliseconds of each inference, and its begin on the device's clock in seconds. */
export interface Times {
  readonly ms: readonly number[];
  readonly at: readonly number[];
  /** Why the inference after these failed, or null where none did. */
  readonly failed: string | null;
}

/** A configuration that is being timed. */
export interface Timed {
  readonly configuration: number;
  time(runs: number): Promise<Times>;
}

export interface Phase {
  readonly name: "warm-up" | "steady" | "sustained";
  /** Runs until it has to be asked again whether the phase is over; 0 where it is. */
  left(ms: readonly number[], seconds: number): number;
}

/** What the timing needs of the run of a job. */
export interface TimedRun {
  /** Seconds, monotonic: the clock of `Times.at`. */
  now(): number;
  /** Writes a `times` line; `at` on the device's clock. */
  times(configuration: number, phase: string, first: number, ms: number[], at: number[]): void;
  /** Told why a configuration's inference failed, when its values are written. */
  failed(configuration: number, why: string): Promise<void>;
  /** Called between lines. */
  pause(count: number): Promise<void>;
}

const LINE_VALUES = 64;
const LINE_SECONDS = 1;
/** Alone, so many in one call keep the page's messages out of the way. */
const MOST_RUNS = 8;
const STABLE_RUNS = 16;

function runsWithin(seconds: number, ms: readonly number[]): number {
  return seconds <= 0 ? 0 : Math.max(1, Math.ceil((seconds * 1000) / (ms.at(-1) ?? Infinity)));
}

export function warmUp(warmUpSeconds: number, max: number): Phase {
  const runs = (ms: readonly number[]): number => {
    if (warmedUp(ms, max)) return 0;
    return ms.length < STABLE_RUNS ? Math.min(STABLE_RUNS, max) - ms.length : 1;
  };
  const left = (ms: readonly number[], seconds: number): number =>
    Math.max(runs(ms), runsWithin(warmUpSeconds - seconds, ms));
  return { name: "warm-up", left };
}

export function steady(minSeconds: number, minRuns: number): Phase {
  const left = (ms: readonly number[], seconds: number): number =>
    Math.max(minRuns - ms.length, runsWithin(minSeconds - seconds, ms));
  return { name: "steady", left };
}

export function sustained(seconds: number): Phase {
  return { name: "sustained", left: (ms, gone) => runsWithin(seconds - gone, ms) };
}

/** One configuration's values of a phase on their way out. */
class Series {
  readonly ms: number[] = [];
  private readonly at: number[] = [];
  private written = 0;

  constructor(
    readonly timed: Timed,
    private readonly run: TimedRun,
    private readonly phase: string,
  ) {}

  add(ms: number, at: number): void {
    this.ms.push(ms);
    this.at.push(at);
  }

  /** Whether what isn't written fills a line, or spans more than a second. */
  get isDue(): boolean {
    const count = this.ms.length - this.written;
    if (count === 0) return false;
    const span = this.at.at(-1)! + this.ms.at(-1)! / 1000 - this.at[this.written]!;
    return count >= LINE_VALUES || span > LINE_SECONDS;
  }

  write(): void {
    const first = this.written;
    this.written = this.ms.length;
    if (first === this.written) return;
    const { configuration } = this.timed;
    this.run.times(configuration, this.phase, first, this.ms.slice(first), this.at.slice(first));
  }

  async time(runs: number): Promise<Times> {
    try {
      return await this.timed.time(runs);
    } catch (error) {
      return { ms: [], at: [], failed: error instanceof Error ? error.message : String(error) };
    }
  }
}

/**
 * One inference of each in turn, the one to begin alternating, until the phase is over. Gives those
 * that went through; one that fails is told, and the others go on.
 */
export async function inTurns<T extends Timed>(
  run: TimedRun,
  group: readonly T[],
  phase: Phase,
): Promise<T[]> {
  let going = group.map((timed) => ({ timed, series: new Series(timed, run, phase.name) }));
  const start = run.now();
  for (let number = 0; going.length > 0; number++) {
    const left = Math.max(...going.map(({ series }) => phase.left(series.ms, run.now() - start)));
    if (left <= 0) break;
    const runs = group.length === 1 ? Math.min(left, MOST_RUNS) : 1;
    let written = false;
    for (const one of number % 2 === 0 ? [...going] : [...going].reverse()) {
      const { series } = one;
      const { ms, at, failed } = await series.time(runs);
      for (const [i, value] of ms.entries()) {
        series.add(value, at[i]!);
        if (group.length > 1 || !series.isDue) continue;
        series.write();
        written = true;
      }
      if (failed === null) continue;
      series.write();
      going = going.filter((other) => other !== one);
      await run.failed(one.timed.configuration, failed);
    }
    if (going.some(({ series }) => series.isDue)) {
      going.forEach(({ series }) => series.write());
      written = true;
    }
    if (written) await run.pause(going[0]?.series.ms.length ?? 0);
  }
  going.forEach(({ series }) => series.write());
  return going.map(({ timed }) => timed);
}

/** The values of a `times` line as they are sent. start: of the run, on the device's clock. */
export function rounded(ms: readonly number[], at: readonly number[], start: number): Values {
  return { ms: ms.map((v) => round(v, 4)), at: at.map((v) => round(v - start, 6)) };
}
