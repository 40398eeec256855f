/** Whole jobs through the runner, on a device that computes its logits from the input's bytes. */
import { expect, test } from "vitest";
import { parseJob, Progress, type Job } from "../../src/core/job";
import { decodeLine, LineWriter, type Values } from "../../src/core/protocol";
import { groups, runJob, UnreadableImage, type Answer, type Session } from "../../src/core/runner";
import { sha256 } from "../../src/core/sha256";
import { QuietDevice } from "./device";
import { vectors } from "./vectors";

const encoder = new TextEncoder();
const INPUTS = 5;
const UNREADABLE = 3;
const { files } = vectors<{ files: Record<string, string> }>("runs.json");
const MANIFEST = Buffer.from(files["manifest.json"]!, "base64").toString();

/** A job folder: paths and contents. */
function makeJob(changes: Record<string, unknown> = {}): {
  job: Job;
  text: string;
  folder: Map<string, Uint8Array>;
} {
  const folder = new Map<string, Uint8Array>();
  const put = (path: string, content: string): { path: string; sha256: string } => {
    folder.set(path, encoder.encode(content));
    return { path, sha256: sha256(folder.get(path)!) };
  };
  const file = (name: string, precision: string, twin: string | null): object => ({
    name, target: "tflite", precision, twin, bytes: 4, ...put(`models/${name}`, name),
  });
  const items = Array.from({ length: INPUTS }, (_, i) => ({
    name: `Bild ${i}.jpg`, target: 0, ...put(`inputs/${i}.jpg`, i === UNREADABLE ? "broken" : `image ${i}`),
  }));
  const values = {
    schema: "mobilemod/job/1",
    id: "ab".repeat(32),
    model: "m",
    manifest: put("manifest.json", MANIFEST),
    files: [file("a_int8.tflite", "int8", "a_float32.tflite"), file("a_float32.tflite", "float32", null)],
    inputs: { kind: "images", count: INPUTS, items },
    golden: [put("golden/0.png", "golden")],
    configurations: ["a_int8.tflite", "a_float32.tflite"].flatMap((name) =>
      [1, 2].map((threads) => ({ file: name, threads, delegate: "wasm" })),
    ),
    accuracy: true,
    latency: { warm_up_seconds: 0, warm_up_max: 16, min_runs: 70, min_seconds: 0, cold_starts: 2 },
    sustained_seconds: 0,
    logits: true,
    ...changes,
  };
  const text = JSON.stringify(values);
  return { job: parseJob(text), text, folder };
}

class CountingDevice extends QuietDevice {
  constructor(
    private readonly folder: Map<string, Uint8Array>,
    private readonly broken: (threads: number) => boolean = () => false,
  ) {
    super();
  }

  async read(path: string): Promise<Uint8Array> {
    return this.folder.get(path)!;
  }

  async load(_: Uint8Array, { threads }: { threads: number }): Promise<Session> {
    if (this.broken(threads)) throw new Error("no such thread");
    this.open++;
    const answer = (bytes: Uint8Array): Answer => ({
      logits: Float32Array.from([bytes.length, bytes.at(-1)!]),
      inferenceMs: 2,
    });
    return {
      seconds: 0.5,
      firstInferenceMs: 3,
      runtime: "counting",
      accelerated: null,
      image: async (bytes) => {
        if (new TextDecoder().decode(bytes) === "broken") throw new UnreadableImage("no image");
        return { ...answer(bytes), preprocessMs: 1 };
      },
      pixels: async (bytes) => answer(bytes),
      exactPixels: async (bytes) => answer(bytes),
      time: async (runs) => ({
        ms: Array.from({ length: runs }, () => 5),
        at: Array.from({ length: runs }, () => (this.clock += 0.005)),
        failed: null,
      }),
      close: () => void this.open--,
    };
  }
}

async function run(
  job: Job,
  device: CountingDevice,
  held: string[] = [],
): Promise<{ lines: Values[]; texts: string[]; error: unknown }> {
  const texts: string[] = [];
  const progress = new Progress(job);
  held.forEach((line) => progress.addLine(line));
  const start = device.now();
  const writer = new LineWriter(job.id, `${held.length}`.padStart(16, "0"), () => device.now() - start, (l) => texts.push(l));
  let error: unknown = null;
  await runJob(job, device, writer, progress, () => undefined).catch((e: unknown) => (error = e));
  return { lines: texts.map((text) => decodeLine(text)!), texts, error };
}

const of = (lines: Values[], type: string): Values[] => lines.filter((l) => l.type === type);

test("a job runs in the protocol's order, and what is opened is closed", async () => {
  const { job, folder } = makeJob();
  const device = new CountingDevice(folder);
  const { lines } = await run(job, device);
  expect(device.open).toBe(0);
  expect(lines[0]!.type).toBe("hello");
  expect(lines.at(-1)).toMatchObject({ type: "done", answered: 8, errors: 0 });
  expect(lines.map((l) => l.seq)).toEqual(lines.map((_, i) => i));
  const phases = of(lines, "finished").map((l) => `${l.configuration} ${l.phase}`);
  expect(phases).toEqual([
    "0 golden", "0 accuracy", "1 golden", "2 golden", "2 accuracy", "3 golden",
    "0 latency", "2 latency", "1 latency", "3 latency",
  ]);
  // An image that can't be decoded is told once, for every file.
  expect(of(lines, "unreadable").map((l) => l.image)).toEqual([UNREADABLE]);
  expect(of(lines, "golden").map((l) => l.source).slice(0, 2)).toEqual(["pixels", "image"]);
  expect(of(lines, "load").map((l) => `${l.configuration} ${l.cold}`).slice(4, 8)).toEqual(["0 1", "0 2", "2 1", "2 2"]);
  const steady = of(lines, "times").filter((l) => l.phase === "steady" && l.configuration === 0);
  expect(steady.map((l) => [l.first, (l.ms as number[]).length])).toEqual([[0, 64], [64, 6]]);
});

test("an int8 configuration is timed with its twin of the same threads, in turns", async () => {
  const { job, folder } = makeJob();
  expect(groups(job)).toEqual([[0, 2], [1, 3]]);
  const { lines } = await run(job, new CountingDevice(folder));
  const begins = (configuration: number): number[] =>
    of(lines, "times")
      .filter((l) => l.phase === "steady" && l.configuration === configuration)
      .flatMap((l) => l.at as number[]);
  const [a, b] = [begins(0), begins(2)];
  expect(a.length).toBe(b.length);
  // Who begins alternates.
  expect(a.slice(0, 4).map((v, i) => v < b[i]!)).toEqual([true, false, true, false]);
});

test("after every possible interruption, nothing is missing and no input is answered twice", async () => {
  const { job, folder } = makeJob({ latency: null });
  const whole = await run(job, new CountingDevice(folder));
  for (let cut = 0; cut < whole.texts.length; cut++) {
    // The last line is torn.
    const held = [...whole.texts.slice(0, cut), whole.texts[cut]!.slice(0, 20)];
    const { lines } = await run(job, new CountingDevice(folder), held);
    const answers = [...held.map(decodeLine).filter((l) => l !== null), ...lines]
      .filter((l) => l.type === "image")
      .map((l) => `${l.configuration} ${l.image}`);
    expect(new Set(answers).size).toBe(answers.length);
    expect(answers).toHaveLength(8);
  }
});

test("a configuration that fails is told, and the others run", async () => {
  const { job, folder } = makeJob();
  const { lines } = await run(job, new CountingDevice(folder, (threads) => threads === 2));
  const errors = of(lines, "error");
  expect(errors.every((l) => l.fatal === false && l.message === "no such thread")).toBe(true);
  expect(new Set(errors.map((l) => l.configuration))).toEqual(new Set([1, 3]));
  expect(lines.at(-1)).toMatchObject({ type: "done", errors: 2 });
});

test("a file that isn't the job's is fatal, and named", async () => {
  const { job, folder } = makeJob();
  folder.set("models/a_int8.tflite", encoder.encode("another"));
  const { lines, error } = await run(job, new CountingDevice(folder));
  expect(String(error)).toContain("models/a_int8.tflite");
  expect(lines.at(-1)).toMatchObject({ type: "error", fatal: true });
});

test("an input that isn't the job's is fatal too, though it is fetched late", async () => {
  const { job, folder } = makeJob();
  folder.set("inputs/2.jpg", encoder.encode("another"));
  const device = new CountingDevice(folder);
  const { lines, error } = await run(job, device);
  expect(String(error)).toContain("inputs/2.jpg");
  expect(of(lines, "image").map((l) => l.image)).toEqual([0, 1]);
  expect(lines.at(-1)).toMatchObject({ type: "error", where: "job", fatal: true });
  expect(device.open).toBe(0);
});

test("a job that is none is refused with a reason", () => {
  expect(() => parseJob("{")).toThrow("no JSON");
  expect(() => parseJob("{}")).toThrow("schema");
  const bad: Record<string, unknown>[] = [
    { id: "x" },
    { configurations: [{ file: "other", threads: 1, delegate: "wasm" }] },
    { inputs: { kind: "images", count: 2, items: [] } },
    { inputs: { kind: "sounds", count: 0, items: [] } },
    { inputs: { kind: "pixels", count: 0, items: [], shape: [0, 3, 4, 4], path: "p", sha256: "0" } },
    { golden: [{ path: "../x", sha256: "0" }] },
    { golden: 7 },
    { latency: { warm_up_max: "many" } },
  ];
  for (const changes of bad) expect(() => makeJob(changes)).toThrow();
});

test("ten thousand damaged jobs are read or refused, never anything else", () => {
  const { text } = makeJob();
  let taken = 0;
  let state = 7;
  const next = (below: number): number => (state = (state * 48271) % 2147483647) % below;
  for (let i = 0; i < 10_000; i++) {
    const at = next(text.length);
    const piece = ["", "null", "-1", '"', "[", "}", "1e999", "\u0000", "../"][next(9)]!;
    const damaged = text.slice(0, at) + piece + text.slice(at + next(12));
    try {
      parseJob(damaged);
      taken++;
    } catch (error) {
      expect((error as Error).name).toBe("InputError");
    }
  }
  expect(taken).toBeGreaterThan(0);
});
