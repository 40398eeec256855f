/** How far a whole job has come, by its lines, and what they said, for people. */
import { isFirstMeasured, type Job, type Progress } from "./job";
import { decodeLine } from "./protocol";
import { percentile } from "./statistics";

/** Seconds of an image, until one was answered. */
const IMAGE_SECONDS = 0.1;
/** Of a configuration's load and self-test, of either kind. */
const LOAD_SECONDS = 2;
/** Share of the work before which the time that is left isn't told. */
const SOON = 0.02;

export class Whole {
  private readonly steady = new Map<number, number[]>();
  private readonly answered = new Map<number, number>();
  private unreadable = 0;
  private errors = 0;
  /** Seconds of work that were there at the start. */
  private readonly begun: number;
  private best = 0;

  /** start: on the clock of `at`. */
  constructor(
    private readonly job: Job,
    private readonly progress: Progress,
    private readonly start: number,
  ) {
    this.begun = Math.max(this.left(), 1e-6);
  }

  /** Takes in a line that this device writes. */
  add(text: string): void {
    this.progress.addLine(text);
    const line = decodeLine(text)!;
    const index = Number(line.configuration);
    if (line.type === "image") this.answered.set(index, (this.answered.get(index) ?? 0) + 1);
    if (line.type === "unreadable") this.unreadable++;
    if (line.type === "error") this.errors++;
    if (line.type === "times" && line.phase === "steady") {
      const all = this.steady.get(index) ?? [];
      all.push(...(line.ms as number[]));
      this.steady.set(index, all);
    }
  }

  /** Of the whole job 0 to 1, which never goes back; seconds left, null while too little is known. */
  at(now: number): { share: number; secondsLeft: number | null } {
    this.best = Math.max(this.best, Math.min(1, 1 - this.left() / this.begun));
    const left = ((now - this.start) * (1 - this.best)) / this.best;
    return { share: this.best, secondsLeft: this.best < SOON ? null : left };
  }

  /** A line for each configuration that said anything. */
  results(): string[] {
    const told = this.job.configurations.map(({ file, threads }, index) => {
      const images = this.answered.get(index);
      const times = this.steady.get(index);
      const parts = [
        ...(times === undefined ? [] : [`p50 ${percentile(times, 50).toFixed(1)} ms over ${times.length} runs`]),
        ...(images === undefined ? [] : [`${images} images answered`]),
      ];
      return parts.length === 0 ? "" : `${file}, ${threads} thread${threads === 1 ? "" : "s"}: ${parts.join(", ")}`;
    });
    if (this.unreadable > 0) told.push(`${this.unreadable} images can’t be decoded here`);
    if (this.errors > 0) told.push(`${this.errors} errors; the computer’s record has them`);
    return told.filter(Boolean);
  }

  /** Seconds of work that the job asks for and that isn't finished, roughly. */
  private left(): number {
    const { job, progress } = this;
    const plan = job.latency;
    let seconds = 0;
    job.configurations.forEach(({ file, selfTestOnly }, index) => {
      const missing = (phase: string): boolean => !progress.isFinished(index, phase);
      if (missing("golden")) seconds += LOAD_SECONDS;
      if (selfTestOnly) return;
      if (job.accuracy && isFirstMeasured(job.configurations, index)) {
        seconds += IMAGE_SECONDS * progress.left(file).length;
      }
      if (plan !== null && missing("latency")) {
        const all = plan.warmUpSeconds + Math.max(plan.minSeconds, 0.05 * plan.minRuns) + plan.coldStarts * LOAD_SECONDS;
        const done = (this.steady.get(index)?.reduce((a, b) => a + b, 0) ?? 0) / 1000;
        seconds += Math.max(all * 0.05, all - done);
      }
      if (job.sustainedSeconds > 0 && missing("sustained")) seconds += job.sustainedSeconds;
    });
    return seconds;
  }
}
