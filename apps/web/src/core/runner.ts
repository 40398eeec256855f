/**
 * Runs a harness job in the protocol's order, on whatever runs models here: the self-test and accuracy
 * of each configuration, then latency, then sustained runs (docs/harness-protocol.md).
 */
import { goldenAnswer, imageAnswer } from "./answers";
import { InputError, messageOf, Unavailable } from "./errors";
import { isFirstMeasured, type Configuration, type HashedPath, type Job, type JobFile, type Progress } from "./job";
import { parseManifest, type Manifest } from "./manifest";
import { round, type LineWriter, type Values } from "./protocol";
import { sha256 } from "./sha256";
import * as timing from "./timing";
import type { Phase, Timed, TimedRun, Times } from "./timing";

export type { Times } from "./timing";

/** An image that can't be decoded on this device. */
export class UnreadableImage extends Error {
  override readonly name = "UnreadableImage";
}

export interface Answer {
  /**
   * The output's values in the file's own order: logits, scores for each class at each pixel, or a
   * map's codes.
   */
  readonly logits: Float32Array;
  readonly inferenceMs: number;
}

export interface ImageAnswer extends Answer {
  readonly preprocessMs: number;
}

/** A model file that is loaded, with its own preprocessing. */
export interface Session {
  readonly seconds: number;
  readonly firstInferenceMs: number;
  readonly runtime: string;
  /** Whether all of it runs on what was asked for; null where the runtime doesn't say. */
  readonly accelerated: boolean | null;
  /** An encoded image through the app's preprocessing; throws `UnreadableImage`. */
  image(encoded: Uint8Array): Promise<ImageAnswer>;
  /** uint8 (height, width, 3), fed as they are. */
  pixels(rgb: Uint8Array): Promise<Answer>;
  /** A lossless image's own values, fed as they are. */
  exactPixels(png: Uint8Array): Promise<Answer>;
  /** The input that was fed last, or `load`'s. */
  time(runs: number): Promise<Times>;
  close(): void;
}

export interface Device {
  /** The keys of `hello` beside `protocol`. */
  facts(): Promise<Values>;
  /** A file of the job folder; throws where it can't be had. */
  read(path: string): Promise<Uint8Array>;
  /** Takes in the bundle's manifest. */
  begin(manifest: Manifest): void;
  /**
   * first: the PNG whose values, as they are, the first inference is fed; grey where null. Throws
   * `Unavailable` where there is nothing here that the configuration could run on.
   */
  load(file: Uint8Array, configuration: Configuration, first: Uint8Array | null): Promise<Session>;
  /** The keys of `state`. */
  state(): Promise<Values>;
  /** Seconds, monotonic: the clock of `Times.at`. */
  now(): number;
  /** Resolves when what was written is safe; called between images. */
  flush(): Promise<void>;
}

const STATE_SECONDS = 5;
const FAILURES_IN_A_ROW = 3;

/** Where a job stands, for people. */
export interface Status {
  readonly text: string;
  readonly done: number;
  readonly total: number;
}

class Run {
  answered = 0;
  timed = 0;
  errors = 0;
  private readonly ended = new Set<number>();
  private readonly files = new Map<string, Uint8Array>();
  private readonly start: number;
  private lastState = -Infinity;
  private opened: Manifest | null = null;

  constructor(
    readonly job: Job,
    readonly device: Device,
    readonly lines: LineWriter,
    readonly progress: Progress,
    readonly report: (status: Status) => void,
  ) {
    this.start = device.now() - lines.seconds();
  }

  error(where: string, error: unknown, place: Values = {}, fatal = false): void {
    this.errors++;
    const none = { configuration: null, image: null };
    this.lines.emit("error", { where, message: messageOf(error), ...none, ...place, fatal });
  }

  /** Nothing more of this configuration is run. */
  end(configuration: number): void {
    this.ended.add(configuration);
  }

  /** What `act` gives; null where it fails, which is told and ends the configuration. */
  async guarded<T>(where: string, configuration: number, act: () => Promise<T>): Promise<T | null> {
    try {
      return await act();
    } catch (error) {
      this.error(where, error, { configuration });
      this.end(configuration);
      return null;
    }
  }

  isGoing(configuration: number): boolean {
    return !this.ended.has(configuration);
  }

  wants(configuration: number, phase: string): boolean {
    return this.isGoing(configuration) && !this.progress.isFinished(configuration, phase);
  }

  async state(always = true): Promise<void> {
    if (!always && this.device.now() - this.lastState < STATE_SECONDS) return;
    this.lastState = this.device.now();
    this.lines.emit("state", await this.device.state());
  }

  async finish(configuration: number, phase: string): Promise<void> {
    await this.state();
    this.lines.emit("finished", { configuration, phase });
    await this.device.flush();
  }

  times(configuration: number, phase: string, first: number, ms: number[], at: number[]): void {
    const values = timing.rounded(ms, at, this.start);
    this.lines.emit("times", { configuration, phase, first, ...values });
    this.timed += ms.length;
  }

  /** Reads the manifest; throws where it can't be used. */
  async begin(): Promise<void> {
    this.opened = parseManifest(new TextDecoder().decode(await this.read(this.job.manifest)));
    this.device.begin(this.opened);
  }

  get manifest(): Manifest {
    return this.opened!;
  }

  /** A file of the job, checked by its hash; model files are kept for later loads. */
  async read(entry: HashedPath, keep = false): Promise<Uint8Array> {
    const kept = this.files.get(entry.path);
    if (kept !== undefined) return kept;
    const bytes = await this.device.read(entry.path);
    if (sha256(bytes) !== entry.sha256) {
      throw new InputError(`${entry.path} is not the file of the job (sha256 differs)`);
    }
    if (keep) this.files.set(entry.path, bytes);
    return bytes;
  }

  /** A fresh load and its line; null where it failed, or can't be run here, which is no error. */
  async load(index: number, cold: number): Promise<Session | null> {
    const configuration = this.job.configurations[index]!;
    const bytes = await this.read(fileOf(this.job, configuration), true);
    const [golden] = this.job.golden;
    const first = golden === undefined ? null : await this.read(golden);
    const session = await this.guarded("load", index, async () => {
      try {
        return await this.device.load(bytes, configuration, first);
      } catch (error) {
        if (!configuration.selfTestOnly && !(error instanceof Unavailable)) throw error;
        this.lines.emit("unavailable", { configuration: index, message: messageOf(error) });
        this.end(index);
        return null;
      }
    });
    if (session === null) return null;
    this.lines.emit("load", {
      configuration: index,
      seconds: round(session.seconds, 6),
      first_inference_ms: round(session.firstInferenceMs, 4),
      cold,
      runtime: session.runtime,
      partitions: null,
      fallback: null,
      accelerated: session.accelerated,
    });
    return session;
  }
}

function fileOf(job: Job, configuration: Configuration): JobFile {
  return job.files.find((f) => f.name === configuration.file)!;
}

/** Runs what is left of a job; the last line is `done`, or a fatal `error`. */
export async function runJob(
  job: Job,
  device: Device,
  lines: LineWriter,
  progress: Progress,
  report: (status: Status) => void,
): Promise<void> {
  const run = new Run(job, device, lines, progress, report);
  lines.emit("hello", await device.facts());
  try {
    await runPhases(run);
  } catch (error) {
    // Of the job's files or of the way back: what a model does wrong is told where it happens.
    run.error("job", error, {}, true);
    await device.flush();
    throw error;
  }
  await device.flush();
}

async function runPhases(run: Run): Promise<void> {
  const { job } = run;
  await run.begin();
  for (const entry of job.golden) await run.read(entry, true);
  for (const file of job.files) await run.read(file, true);
  if (job.inputs.kind === "pixels") await run.read(job.inputs.packed, true);
  await run.state();
  const measured = measuredOf(job);
  for (const index of measured) await check(run, index);
  if (job.latency !== null) for (const group of groups(job)) await latency(run, group);
  if (job.sustainedSeconds > 0) {
    for (const index of measured) await sustained(run, index);
  }
  // Last: a unit that takes the page down costs nothing that is measured.
  for (const [index, { selfTestOnly }] of job.configurations.entries()) {
    if (selfTestOnly) await check(run, index);
  }
  await run.state();
  const { answered, timed, errors } = run;
  run.lines.emit("done", { answered, timed, errors });
}

/** The self-test and, with a file's first configuration, accuracy. */
async function check(run: Run, index: number): Promise<void> {
  const { job } = run;
  const first = isFirstMeasured(job.configurations, index);
  const golden = run.wants(index, "golden");
  const accuracy = job.accuracy && first && run.wants(index, "accuracy");
  if (!golden && !accuracy) return;
  const session = await run.load(index, 0);
  if (session === null) return;
  try {
    if (golden) await selfTest(run, index, session);
    if (accuracy && run.isGoing(index)) await answer(run, index, session);
  } finally {
    session.close();
  }
}

async function selfTest(run: Run, index: number, session: Session): Promise<void> {
  const configuration = run.job.configurations[index]!;
  const { target } = fileOf(run.job, configuration);
  for (const [image, entry] of run.job.golden.entries()) {
    const png = await run.read(entry);
    const ways: [string, () => Promise<Answer>][] = [
      ["pixels", () => session.exactPixels(png)],
      ["image", () => session.image(png)],
    ];
    // What an image goes through before it is the same on every unit.
    if (configuration.selfTestOnly) ways.length = 1;
    for (const [source, act] of ways) {
      const answer = await run.guarded("golden", index, async () =>
        goldenAnswer(run.manifest, target, (await act()).logits),
      );
      if (answer === null) return;
      run.lines.emit("golden", { configuration: index, image, source, ...answer });
    }
  }
  await run.finish(index, "golden");
}

async function answer(run: Run, index: number, session: Session): Promise<void> {
  const { job } = run;
  const { name: file, target } = fileOf(job, job.configurations[index]!);
  const left = run.progress.left(file);
  let done = job.inputs.count - left.length;
  let failures = 0;
  let inARow = 0;
  for (const image of left) {
    run.report({ text: `${file}: images`, done: done++, total: job.inputs.count });
    const act = await inputOf(run, session, image);
    try {
      const result = await act();
      const answer = imageAnswer(run.manifest, target, result.logits, job.logits);
      inARow = 0;
      run.lines.emit("image", {
        configuration: index,
        image,
        ...answer,
        preprocess_ms: round(result.preprocessMs, 4),
        inference_ms: round(result.inferenceMs, 4),
      });
      run.answered++;
    } catch (error) {
      if (error instanceof UnreadableImage) {
        run.progress.addUnreadable(image);
        run.lines.emit("unreadable", { image, message: messageOf(error) });
      } else {
        failures++;
        run.error("accuracy", error, { configuration: index, image });
        if (++inARow === FAILURES_IN_A_ROW) return run.end(index);
      }
    }
    await run.state(false);
    await run.device.flush();
  }
  if (failures === 0) await run.finish(index, "accuracy");
}

/** An input's bytes, read, and what answers them. */
async function inputOf(run: Run, session: Session, image: number): Promise<() => Promise<ImageAnswer>> {
  const { inputs } = run.job;
  if (inputs.kind === "images") {
    const encoded = await run.read(inputs.items[image]!);
    return () => session.image(encoded);
  }
  const { length } = inputs;
  const packed = await run.read(inputs.packed, true);
  const pixels = packed.slice(image * length, (image + 1) * length);
  return async () => ({ ...(await session.pixels(pixels)), preprocessMs: 0 });
}

/** Indices of the configurations that aren't there for their self-test alone. */
function measuredOf({ configurations }: Job): number[] {
  return [...configurations.keys()].filter((index) => !configurations[index]!.selfTestOnly);
}

/** Configurations that are timed together: an int8 file's and its twin's, others alone. */
export function groups(job: Job): number[][] {
  const { configurations } = job;
  const taken = new Set<number>();
  const found: number[][] = [];
  const twinOf = (c: Configuration): number => {
    const { twin } = fileOf(job, c);
    return configurations.findIndex(
      (d, i) =>
        d.file === twin &&
        d.threads === c.threads &&
        d.delegate === c.delegate &&
        !d.selfTestOnly &&
        !taken.has(i),
    );
  };
  const measured = measuredOf(job);
  for (const i of measured) {
    const c = configurations[i]!;
    const twin = taken.has(i) ? -1 : twinOf(c);
    if (twin < 0) continue;
    taken.add(i).add(twin);
    found.push([i, twin]);
  }
  for (const i of measured) if (!taken.has(i)) found.push([i]);
  return found.sort((a, b) => Math.min(...a) - Math.min(...b));
}

/** Loads for latency: 0 where it isn't measured. */
function latencyLoads({ latency: plan }: Job): number {
  return plan === null ? 0 : Math.max(1, plan.coldStarts);
}

/** A loaded configuration that is timed. */
interface Loaded extends Timed {
  readonly session: Session;
}

function loaded(configuration: number, session: Session): Loaded {
  return { configuration, session, time: (runs) => session.time(runs) };
}

async function latency(run: Run, group: readonly number[]): Promise<void> {
  const plan = run.job.latency!;
  if (!group.some((index) => run.wants(index, "latency"))) return;
  const open: Loaded[] = [];
  try {
    for (const index of group) {
      if (!run.isGoing(index)) continue;
      const session = await coldStarts(run, index);
      if (session !== null) open.push(loaded(index, session));
    }
    await time(run, open, "latency", [
      [timing.warmUp(plan.warmUpSeconds, plan.warmUpMax), plan.warmUpMax],
      [timing.steady(plan.minSeconds, plan.minRuns), plan.minRuns],
    ]);
  } finally {
    open.forEach(({ session }) => session.close());
  }
}

/** The last of the cold starts, which is timed; null where one failed. */
async function coldStarts(run: Run, index: number): Promise<Session | null> {
  let session: Session | null = null;
  for (let cold = 1; cold <= latencyLoads(run.job); cold++) {
    session?.close();
    session = await run.load(index, cold);
    if (session === null) return null;
  }
  return session;
}

async function sustained(run: Run, index: number): Promise<void> {
  if (!run.wants(index, "sustained")) return;
  const session = await run.load(index, latencyLoads(run.job) + 1);
  if (session === null) return;
  try {
    const phase = timing.sustained(run.job.sustainedSeconds);
    await time(run, [loaded(index, session)], "sustained", [[phase, 0]]);
  } finally {
    session.close();
  }
}

/** Times a group through phases, each with how many runs to show; what fails leaves it. */
async function time(
  run: Run,
  group: readonly Loaded[],
  where: string,
  phases: readonly [Phase, number][],
): Promise<void> {
  let going = [...group];
  for (const [phase, total] of phases) {
    const files = going.map(({ configuration }) => run.job.configurations[configuration]!.file);
    const text = `${files.join(" and ")}: ${phase.name}`;
    const timed: TimedRun = {
      now: () => run.device.now(),
      times: (...line) => run.times(...line),
      failed: async (configuration, why) => {
        run.error(where, why, { configuration });
        run.end(configuration);
      },
      pause: async (done) => {
        run.report({ text, done, total });
        await run.state(false);
        await run.device.flush();
      },
    };
    if (going.length > 0) run.report({ text, done: 0, total });
    going = await timing.inTurns(timed, going, phase);
  }
  for (const { configuration } of going) await run.finish(configuration, where);
}
