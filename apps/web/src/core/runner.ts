/**
 * Runs a harness job in the protocol's order, on whatever runs models here: the loads, the self-test
 * and accuracy of each configuration, then latency, then sustained runs.
 */
import { InputError, messageOf } from "./errors";
import type { Configuration, HashedPath, Job, JobFile, Progress } from "./job";
import { round, type LineWriter, type Values } from "./protocol";
import { sha256, sha256OfFloats } from "./sha256";
import { warmedUp } from "./statistics";
import { topK } from "./topk";

/** An image that can't be decoded on this device. */
export class UnreadableImage extends Error {
  override readonly name = "UnreadableImage";
}

export interface Answer {
  readonly logits: Float32Array;
  readonly inferenceMs: number;
}

export interface ImageAnswer extends Answer {
  readonly preprocessMs: number;
}

/** Milliseconds of each inference, and its begin on the device's clock in seconds. */
export interface Times {
  readonly ms: number[];
  readonly at: number[];
}

/** A model file that is loaded, with its own preprocessing. */
export interface Session {
  readonly seconds: number;
  readonly firstInferenceMs: number;
  readonly runtime: string;
  /** An encoded image through the app's preprocessing; throws `UnreadableImage`. */
  image(encoded: Uint8Array): Promise<ImageAnswer>;
  /** uint8 (size, size, 3), fed as they are. */
  pixels(rgb: Uint8Array): Promise<Answer>;
  /** A lossless image's own values, fed as they are. */
  exactPixels(png: Uint8Array): Promise<Answer>;
  time(runs: number): Promise<Times>;
  close(): void;
}

export interface Device {
  /** The keys of `hello` beside `protocol`. */
  facts(): Promise<Values>;
  /** A file of the job folder; throws where it can't be had. */
  read(path: string): Promise<Uint8Array>;
  /** Takes in the bundle's manifest; throws where it can't be used. */
  begin(manifest: string): void;
  load(file: Uint8Array, configuration: Configuration): Promise<Session>;
  /** The keys of `state`. */
  state(): Promise<Values>;
  /** Seconds, monotonic: the clock of `Times.at`. */
  now(): number;
  /** Resolves when what was written is safe; called between images. */
  flush(): Promise<void>;
}

const GROUP = 64;
const STATE_SECONDS = 5;
const TOP = 5;

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
  private readonly cold = new Map<number, number>();
  private readonly files = new Map<string, Uint8Array>();
  private readonly start: number;
  private lastState = -Infinity;

  constructor(
    readonly job: Job,
    readonly device: Device,
    readonly lines: LineWriter,
    readonly progress: Progress,
    readonly report: (status: Status) => void,
  ) {
    this.start = device.now() - lines.seconds();
  }

  /** Seconds since the run's start of a value of the device's clock. */
  since(at: number): number {
    return round(at - this.start, 6);
  }

  error(where: string, error: unknown, place: Values = {}, fatal = false): void {
    this.errors++;
    const none = { configuration: null, image: null };
    this.lines.emit("error", { where, message: messageOf(error), ...none, ...place, fatal });
  }

  async state(always = true): Promise<void> {
    if (!always && this.device.now() - this.lastState < STATE_SECONDS) return;
    this.lastState = this.device.now();
    this.lines.emit("state", await this.device.state());
  }

  async finish(configuration: number, phase: string): Promise<void> {
    this.lines.emit("finished", { configuration, phase });
    await this.state();
    await this.device.flush();
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

  async load(index: number): Promise<Session> {
    const configuration = this.job.configurations[index]!;
    const bytes = await this.read(fileOf(this.job, configuration), true);
    const session = await this.device.load(bytes, configuration);
    const cold = this.cold.get(index) ?? 0;
    this.cold.set(index, cold + 1);
    this.lines.emit("load", {
      configuration: index,
      seconds: round(session.seconds, 6),
      first_inference_ms: round(session.firstInferenceMs, 4),
      cold,
      runtime: session.runtime,
      partitions: null,
      fallback: null,
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
    device.begin(new TextDecoder().decode(await run.read(job.manifest)));
    for (const entry of job.golden) await run.read(entry, true);
    for (const file of job.files) await run.read(file, true);
    if (job.inputs.kind === "pixels") await run.read(job.inputs.packed, true);
  } catch (error) {
    run.error("job", error, {}, true);
    await device.flush();
    throw error;
  }
  for (const index of job.configurations.keys()) await attempt(run, index, () => check(run, index));
  if (job.latency !== null) {
    for (const group of groups(job)) {
      if (group.every((index) => progress.isFinished(index, "latency"))) continue;
      await attempt(run, group[0]!, () => latency(run, group));
    }
  }
  if (job.sustainedSeconds > 0) {
    for (const index of job.configurations.keys()) {
      if (!progress.isFinished(index, "sustained")) await attempt(run, index, () => sustained(run, index));
    }
  }
  const { answered, timed, errors } = run;
  lines.emit("done", { answered, timed, errors });
  await device.flush();
}

/** A configuration that fails is told, and the next one runs. */
async function attempt(run: Run, configuration: number, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    run.error("configuration", error, { configuration });
    await run.device.flush();
  }
}

/** The self-test and, with a file's first configuration, accuracy. */
async function check(run: Run, index: number): Promise<void> {
  const { job, progress } = run;
  const { file } = job.configurations[index]!;
  const first = job.configurations.findIndex((c) => c.file === file) === index;
  const golden = !progress.isFinished(index, "golden");
  const accuracy = job.accuracy && first && !progress.isFinished(index, "accuracy");
  if (!golden && !accuracy) return;
  const session = await run.load(index);
  try {
    if (golden) await selfTest(run, index, session);
    if (accuracy) await answer(run, index, session);
  } finally {
    session.close();
  }
}

async function selfTest(run: Run, index: number, session: Session): Promise<void> {
  for (const [image, entry] of run.job.golden.entries()) {
    const png = await run.read(entry);
    const results: [string, Answer][] = [
      ["pixels", await session.exactPixels(png)],
      ["image", await session.image(png)],
    ];
    for (const [source, { logits }] of results) {
      run.lines.emit("golden", { configuration: index, image, source, logits: Array.from(logits) });
    }
  }
  await run.finish(index, "golden");
}

async function answer(run: Run, index: number, session: Session): Promise<void> {
  const { job } = run;
  const { file } = job.configurations[index]!;
  const left = run.progress.left(file, job.inputs.count);
  let done = job.inputs.count - left.length;
  for (const image of left) {
    run.report({ text: `${file}: images`, done: done++, total: job.inputs.count });
    try {
      const result = await answerOne(run, session, image);
      run.lines.emit("image", {
        configuration: index,
        image,
        top: topK(result.logits, TOP),
        logits_sha256: sha256OfFloats(result.logits),
        ...(job.logits ? { logits: Array.from(result.logits) } : {}),
        preprocess_ms: round(result.preprocessMs, 4),
        inference_ms: round(result.inferenceMs, 4),
      });
      run.answered++;
    } catch (error) {
      if (!(error instanceof UnreadableImage)) throw error;
      run.progress.addUnreadable(image);
      run.lines.emit("unreadable", { image, message: messageOf(error) });
    }
    await run.state(false);
    await run.device.flush();
  }
  await run.finish(index, "accuracy");
}

async function answerOne(run: Run, session: Session, image: number): Promise<ImageAnswer> {
  const { inputs } = run.job;
  if (inputs.kind === "images") return session.image(await run.read(inputs.items[image]!));
  const length = inputs.size * inputs.size * 3;
  const packed = await run.read(inputs.packed, true);
  const pixels = packed.slice(image * length, (image + 1) * length);
  return { ...(await session.pixels(pixels)), preprocessMs: 0 };
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
        d.file === twin && d.threads === c.threads && d.delegate === c.delegate && !taken.has(i),
    );
  };
  for (const [i, c] of configurations.entries()) {
    const twin = taken.has(i) ? -1 : twinOf(c);
    if (twin < 0) continue;
    taken.add(i).add(twin);
    found.push([i, twin]);
  }
  for (const i of configurations.keys()) if (!taken.has(i)) found.push([i]);
  return found.sort((a, b) => a[0]! - b[0]!);
}

/** Gathers a phase's times of one configuration into lines of at most `GROUP` values. */
class Series {
  private held: Times = { ms: [], at: [] };
  private first = 0;
  readonly ms: number[] = [];

  constructor(
    private readonly run: Run,
    private readonly configuration: number,
    private readonly phase: string,
  ) {}

  add(times: Times): void {
    this.ms.push(...times.ms);
    this.held.ms.push(...times.ms);
    this.held.at.push(...times.at);
    while (this.held.ms.length >= GROUP) this.write(GROUP);
  }

  end(): void {
    if (this.held.ms.length > 0) this.write(this.held.ms.length);
  }

  private write(count: number): void {
    const ms = this.held.ms.splice(0, count);
    const at = this.held.at.splice(0, count);
    this.run.lines.emit("times", {
      configuration: this.configuration,
      phase: this.phase,
      first: this.first,
      ms: ms.map((v) => round(v, 4)),
      at: at.map((v) => this.run.since(v)),
    });
    this.first += count;
    this.run.timed += count;
  }
}

async function latency(run: Run, group: readonly number[]): Promise<void> {
  const plan = run.job.latency!;
  const sessions: Session[] = [];
  try {
    for (const index of group) {
      // The last load is the one that is timed.
      for (let extra = 1; extra < plan.coldStarts; extra++) (await run.load(index)).close();
      sessions.push(await run.load(index));
      await feed(run, sessions.at(-1)!);
    }
    for (const [i, index] of group.entries()) {
      const text = `${run.job.configurations[index]!.file}: warm-up`;
      const over = ([ms]: number[][], seconds: number): boolean =>
        warmedUp(ms!, plan.warmUpMax) && seconds >= plan.warmUpSeconds;
      await phase(run, [index], [sessions[i]!], "warm-up", text, plan.warmUpMax, over);
    }
    const text = `${group.map((i) => run.job.configurations[i]!.file).join(" and ")}: latency`;
    const over = ([ms]: number[][], seconds: number): boolean =>
      ms!.length >= plan.minRuns && seconds >= plan.minSeconds;
    await phase(run, group, sessions, "steady", text, plan.minRuns, over);
  } finally {
    sessions.forEach((s) => s.close());
  }
  for (const index of group) await run.finish(index, "latency");
}

/** What is timed is the first golden image. */
async function feed(run: Run, session: Session): Promise<void> {
  const [first] = run.job.golden;
  if (first !== undefined) await session.exactPixels(await run.read(first));
}

async function sustained(run: Run, index: number): Promise<void> {
  const session = await run.load(index);
  await feed(run, session);
  const { sustainedSeconds, configurations } = run.job;
  const text = `${configurations[index]!.file}: sustained`;
  try {
    const over = (_: number[][], seconds: number): boolean => seconds >= sustainedSeconds;
    await phase(run, [index], [session], "sustained", text, 0, over);
  } finally {
    session.close();
  }
  await run.finish(index, "sustained");
}

/** Times the sessions in turns, who begins alternating, until `over` of all series and seconds. */
async function phase(
  run: Run,
  group: readonly number[],
  sessions: readonly Session[],
  name: string,
  text: string,
  total: number,
  over: (ms: number[][], seconds: number) => boolean,
): Promise<void> {
  const series = group.map((index) => new Series(run, index, name));
  const start = run.device.now();
  const order = [...series.keys()];
  // Alone, eight in one call keep the page's messages out of the way; sixteen decide on warm-up.
  const runs = group.length === 1 ? 8 : 1;
  for (let round = 0; ; round++) {
    for (const i of order) series[i]!.add(await sessions[i]!.time(runs));
    order.reverse();
    const seconds = run.device.now() - start;
    if (over(series.map((s) => s.ms), seconds)) break;
    if (round % 8 === 0) {
      run.report({ text, done: series[0]!.ms.length, total });
      await run.state(false);
      await run.device.flush();
    }
  }
  series.forEach((s) => s.end());
  await run.state();
  await run.device.flush();
}
