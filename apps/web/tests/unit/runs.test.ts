/** Jobs with scripted models: lines and inferences are those that every runner must give. */
import { expect, test } from "vitest";
import { Unavailable } from "../../src/core/errors";
import type { Manifest } from "../../src/core/manifest";
import { parseJob, Progress, type Configuration, type Job } from "../../src/core/job";
import { decodeLine, LineWriter, type Values } from "../../src/core/protocol";
import { runJob, UnreadableImage, type Answer, type Session, type Times } from "../../src/core/runner";
import { QuietDevice } from "./device";
import { vectors } from "./vectors";

interface Script {
  refuses: number[];
  lacks: number[];
  fails: [number, number | null][];
  ms: number[];
  logits: (number | null)[];
}

interface Case {
  name: string;
  job: object;
  engines: Script[];
  changed: Record<string, string>;
  resume: object | null;
  held: string[];
  lines: Values[];
  calls: [number, number, number][];
}

interface Runs {
  files: Record<string, string>;
  shades: Record<string, number>;
  cases: Case[];
}

/** Of networks of logits, and of maps. */
const KINDS = ["runs.json", "maps_runs.json"].map((name) => vectors<Runs>(name));
const GREY = 128;
const KEPT = [
  "type", "configuration", "phase", "image", "source", "cold", "first", "where", "fatal", "answered", "timed", "errors",
];
const bytesOf = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, "base64"));
const shadeOf = new Map(
  KINDS.flatMap(({ files, shades }) => Object.entries(shades).map(([path, shade]) => [files[path]!, shade] as const)),
);

/** Scores class by class, as a .tflite file has them: with the classes last. */
function classesLast(values: Float32Array, classes: number): Float32Array {
  const pixels = values.length / classes;
  return values.map((_, i) => values[(i % classes) * pixels + Math.floor(i / classes)]!);
}

/** The grey of an image; throws for what is no image. */
function decode(encoded: Uint8Array): number {
  const shade = shadeOf.get(Buffer.from(encoded).toString("base64"));
  if (shade === undefined) throw new UnreadableImage("no image");
  return shade;
}

/** Models of a case, a clock that they alone move, and a log of what they are fed. */
class ScriptedDevice extends QuietDevice {
  readonly calls: [number, number, number][] = [];
  private readonly loads: number[];
  private readonly inferences: number[];

  constructor(
    private readonly job: Job,
    private readonly one: Case,
    private readonly files: Record<string, string>,
  ) {
    super();
    this.loads = one.engines.map(() => 0);
    this.inferences = one.engines.map(() => 0);
  }

  async read(path: string): Promise<Uint8Array> {
    return bytesOf(this.one.changed[path] ?? this.files[path]!);
  }

  private manifest: Manifest | null = null;

  override begin(manifest: Manifest): void {
    this.manifest = manifest;
  }

  async load(_: Uint8Array, configuration: Configuration, first: Uint8Array | null): Promise<Session> {
    const index = this.job.configurations.findIndex(
      (c) =>
        c.file === configuration.file &&
        c.threads === configuration.threads &&
        c.delegate === configuration.delegate,
    );
    const script = this.one.engines[index]!;
    const number = this.loads[index]!++;
    if (script.lacks.includes(number)) throw new Unavailable("no such unit");
    if (script.refuses.includes(number)) throw new Error("refused");
    let since = 0;
    let last = first === null ? GREY : decode(first);
    const infer = (shade: number): Answer => {
      last = shade;
      this.log(index, shade);
      const call = this.inferences[index]!++;
      if (script.fails.some(([a, b]) => a <= call && call <= (b ?? Infinity))) throw new Error("failed");
      const inferenceMs = script.ms[Math.min(since++, script.ms.length - 1)]!;
      this.clock += inferenceMs / 1000;
      const numbers = Float32Array.from(script.logits, (v) => v ?? NaN);
      const { map, labels } = this.manifest!;
      return { inferenceMs, logits: map === null ? numbers : classesLast(numbers, labels.length) };
    };
    const time = async (runs: number): Promise<Times> => {
      const ms: number[] = [];
      const at: number[] = [];
      for (let i = 0; i < runs; i++) {
        const begin = this.clock;
        try {
          ms.push(infer(last).inferenceMs);
        } catch (error) {
          return { ms, at, failed: (error as Error).message };
        }
        at.push(begin);
      }
      return { ms, at, failed: null };
    };
    const { inferenceMs: firstInferenceMs } = infer(last);
    // The load before is gone; twins may be open at once.
    expect(++this.open).toBeLessThanOrEqual(2);
    return {
      seconds: 0,
      firstInferenceMs,
      runtime: "scripted",
      accelerated: null,
      image: async (encoded) => ({ ...infer(decode(encoded)), preprocessMs: 0 }),
      pixels: async (rgb) => infer(rgb[0]!),
      exactPixels: async (png) => infer(decode(png)),
      time,
      close: () => void this.open--,
    };
  }

  private log(index: number, shade: number): void {
    const last = this.calls.at(-1);
    if (last !== undefined && last[0] === index && last[1] === shade) last[2]++;
    else this.calls.push([index, shade, 1]);
  }
}

/** A line without what differs between devices and times. */
function skeleton(line: Values): Values {
  const found: Record<string, unknown> = {};
  for (const key of KEPT) if (line[key] != null) found[key] = line[key];
  if (line.ms !== undefined) found.count = (line.ms as number[]).length;
  if (line.top !== undefined) found.top = (line.top as [number, number][]).map(([c]) => c);
  if (line.type === "image" || line.type === "golden") found.logits = line.logits ?? null;
  if (line.runs !== undefined) found.runs = line.runs;
  if (line.runs !== undefined && line.type === "image") found.logits_sha256 = line.logits_sha256;
  return found;
}

const ALL = KINDS.flatMap(({ files, cases }) => cases.map((one) => [one.name, one, files] as const));

test.each(ALL)("%s", async (_, one, files) => {
  const job = parseJob(JSON.stringify(one.job));
  const device = new ScriptedDevice(job, one, files);
  const progress = new Progress(job);
  if (one.resume !== null) progress.addResume(JSON.stringify(one.resume));
  one.held.forEach((line) => progress.addLine(line));
  const texts: string[] = [];
  const writer = new LineWriter(job.id, "1".repeat(16), () => device.now(), (line) => texts.push(line));
  await runJob(job, device, writer, progress, () => undefined).catch((error: unknown) => {
    if (one.lines.at(-1)!.fatal !== true) throw error;
  });
  expect(texts.map((text) => skeleton(decodeLine(text)!))).toEqual(one.lines);
  expect(device.calls).toEqual(one.calls);
  expect(device.open).toBe(0);
});
