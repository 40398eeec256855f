/** A harness job: what to do, and what of it is still to do. */
import { InputError } from "./errors";
import { asArray, asNumber, asObject, asString } from "./manifest";
import { decodeLine, isJobId, isSafePath, type Values } from "./protocol";

export const JOB_SCHEMA = "mobilemod/job/1";
export const RESUME_SCHEMA = "mobilemod/resume/1";
const PHASES = ["golden", "accuracy", "latency", "sustained"];

export interface JobFile {
  readonly name: string;
  readonly path: string;
  readonly sha256: string;
  readonly target: string;
  readonly precision: string;
  /** The float file that it is timed against in turns. */
  readonly twin: string | null;
}

export interface HashedPath {
  readonly path: string;
  readonly sha256: string;
}

export type Inputs =
  | { readonly kind: "images"; readonly count: number; readonly items: readonly HashedPath[] }
  | { readonly kind: "pixels"; readonly count: number; readonly length: number; readonly packed: HashedPath };

export interface Configuration {
  readonly file: string;
  readonly threads: number;
  readonly delegate: string;
  /** Its answers on the golden images are all that is asked for. */
  readonly selfTestOnly: boolean;
}

/** Whether accuracy is taken of a configuration: the first of its file that is measured. */
export function isFirstMeasured(configurations: readonly Configuration[], index: number): boolean {
  const { file } = configurations[index]!;
  return configurations.findIndex((c) => c.file === file && !c.selfTestOnly) === index;
}

export interface LatencyPlan {
  readonly warmUpSeconds: number;
  readonly warmUpMax: number;
  readonly minRuns: number;
  readonly minSeconds: number;
  readonly coldStarts: number;
}

export interface Job {
  readonly id: string;
  readonly model: string;
  readonly manifest: HashedPath;
  readonly files: readonly JobFile[];
  readonly inputs: Inputs;
  readonly golden: readonly HashedPath[];
  readonly configurations: readonly Configuration[];
  readonly accuracy: boolean;
  readonly latency: LatencyPlan | null;
  readonly sustainedSeconds: number;
  readonly logits: boolean;
}

/** Reads `job.json`; throws `InputError` that names what is wrong. */
export function parseJob(text: string): Job {
  const root = parseObject(text, "job.json", JOB_SCHEMA);
  const id = asString(root.id, "job.json: id");
  if (!isJobId(id)) throw new InputError("job.json: id is not 64 hex digits");
  const files = asArray(root.files, "files").map((value, i) => {
    const entry = asObject(value, `files[${i}]`);
    return {
      ...hashedPath(entry, `files[${i}]`),
      name: asString(entry.name, `files[${i}].name`),
      target: asString(entry.target, `files[${i}].target`),
      precision: asString(entry.precision, `files[${i}].precision`),
      twin: entry.twin == null ? null : asString(entry.twin, `files[${i}].twin`),
    };
  });
  const configurations = asArray(root.configurations, "configurations").map((value, i) => {
    const entry = asObject(value, `configurations[${i}]`);
    const file = asString(entry.file, `configurations[${i}].file`);
    if (!files.some((f) => f.name === file)) {
      throw new InputError(`job.json: configurations[${i}] names no file of the job`);
    }
    const threads = asNumber(entry.threads, `configurations[${i}].threads`);
    const delegate = asString(entry.delegate, `configurations[${i}].delegate`);
    return { file, threads, delegate, selfTestOnly: entry.self_test_only === true };
  });
  return {
    id,
    model: asString(root.model, "model"),
    manifest: hashedPath(root.manifest, "manifest"),
    files,
    inputs: parseInputs(root.inputs),
    golden: asArray(root.golden, "golden").map((v, i) => hashedPath(v, `golden[${i}]`)),
    configurations,
    accuracy: root.accuracy === true,
    latency: root.latency == null ? null : parseLatency(root.latency),
    sustainedSeconds: asNumber(root.sustained_seconds, "sustained_seconds"),
    logits: root.logits === true,
  };
}

function parseInputs(value: unknown): Inputs {
  const inputs = asObject(value, "inputs");
  const count = asNumber(inputs.count, "inputs.count");
  const items = asArray(inputs.items, "inputs.items");
  if (items.length !== count) {
    throw new InputError(`job.json: inputs.count is ${count}, but there are ${items.length} items`);
  }
  if (inputs.kind === "images") {
    return { kind: "images", count, items: items.map((v, i) => hashedPath(v, `items[${i}]`)) };
  }
  if (inputs.kind !== "pixels") throw new InputError(`job.json: unknown inputs.kind ${inputs.kind}`);
  const [n, height, width, channels] = asArray(inputs.shape, "inputs.shape");
  if (n !== count || channels !== 3) {
    throw new InputError("job.json: inputs.shape is not [count, height, width, 3]");
  }
  const length = asNumber(height, "inputs.shape") * asNumber(width, "inputs.shape") * channels;
  return { kind: "pixels", count, length, packed: hashedPath(inputs, "inputs") };
}

function parseLatency(value: unknown): LatencyPlan {
  const plan = asObject(value, "latency");
  const number = (key: string): number => asNumber(plan[key], `latency.${key}`);
  return {
    warmUpSeconds: number("warm_up_seconds"),
    warmUpMax: number("warm_up_max"),
    minRuns: number("min_runs"),
    minSeconds: number("min_seconds"),
    coldStarts: number("cold_starts"),
  };
}

function hashedPath(value: unknown, where: string): HashedPath {
  const entry = asObject(value, where);
  const path = asString(entry.path, `${where}.path`);
  if (!isSafePath(path)) throw new InputError(`job.json: ${where}.path is refused: ${path}`);
  return { path, sha256: asString(entry.sha256, `${where}.sha256`) };
}

function parseObject(text: string, name: string, schema: string): Values {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError(`${name} is damaged: it is no JSON`);
  }
  const root = asObject(value, name);
  if (root.schema !== schema) {
    throw new InputError(`${name} has schema ${JSON.stringify(root.schema)}; expected ${schema}`);
  }
  return root;
}

/** What was already answered: by file name, the inputs' indices; and phases that are over. */
export class Progress {
  private readonly answered = new Map<string, Set<number>>();
  private readonly over = new Set<string>();
  private readonly seen = new Set<string>();
  /** Inputs that can't be decoded here; they need no answer of any file. */
  private readonly unreadable = new Set<number>();

  constructor(
    private readonly job: Pick<Job, "id" | "configurations"> & { inputs: Pick<Inputs, "count"> },
  ) {}

  /** Takes in `resume.json`; one of another job is an error. */
  addResume(text: string): void {
    const root = parseObject(text, "resume.json", RESUME_SCHEMA);
    if (root.job !== this.job.id) throw new InputError("resume.json belongs to another job");
    for (const [file, ranges] of Object.entries(asObject(root.answered, "answered"))) {
      for (const range of asArray(ranges, "answered")) {
        const [first, last] = asArray(range, "answered") as [number, number];
        this.addRange(file, asNumber(first, "answered"), asNumber(last, "answered"));
      }
    }
    for (const pair of asArray(root.finished, "finished")) {
      const [configuration, phase] = asArray(pair, "finished");
      this.over.add(`${String(configuration)} ${String(phase)}`);
    }
  }

  addRange(file: string, first: number, last: number): void {
    for (let i = first; i <= last; i++) this.of(file).add(i);
  }

  /** Takes in a line of a stream; damaged and repeated ones, and other jobs', count for nothing. */
  addLine(text: string): void {
    const line = decodeLine(text);
    if (line === null || line.job !== this.job.id.slice(0, 16)) return;
    const name = `${String(line.run)} ${String(line.seq)}`;
    if (this.seen.has(name)) return;
    this.seen.add(name);
    if (line.type === "image" && typeof line.configuration === "number") {
      const file = this.job.configurations[line.configuration]?.file;
      if (file !== undefined && typeof line.image === "number") this.of(file).add(line.image);
    }
    if (line.type === "unavailable" && typeof line.configuration === "number") {
      this.addUnavailable(line.configuration);
    }
    if (line.type === "unreadable" && typeof line.image === "number") this.unreadable.add(line.image);
    if (line.type === "finished") this.over.add(`${String(line.configuration)} ${String(line.phase)}`);
  }

  /** A configuration that can't be run here: nothing more of it is asked for. */
  private addUnavailable(index: number): void {
    for (const phase of PHASES) this.over.add(`${index} ${phase}`);
    const { configurations, inputs } = this.job;
    const file = configurations[index]?.file;
    if (file !== undefined && isFirstMeasured(configurations, index)) {
      this.addRange(file, 0, inputs.count - 1);
    }
  }

  addUnreadable(image: number): void {
    this.unreadable.add(image);
  }

  isAnswered(file: string, image: number): boolean {
    return this.of(file).has(image) || this.unreadable.has(image);
  }

  /** Indices of the inputs that a file has still to answer. */
  left(file: string): number[] {
    const { count } = this.job.inputs;
    return Array.from({ length: count }, (_, i) => i).filter((i) => !this.isAnswered(file, i));
  }

  /** Whether nothing of the job is left to do. */
  isComplete(job: Job): boolean {
    return job.configurations.every(({ selfTestOnly }, index) => {
      const first = isFirstMeasured(job.configurations, index);
      const phases = [
        "golden",
        ...(job.accuracy && first ? ["accuracy"] : []),
        ...(job.latency !== null && !selfTestOnly ? ["latency"] : []),
        ...(job.sustainedSeconds > 0 && !selfTestOnly ? ["sustained"] : []),
      ];
      return phases.every((phase) => this.isFinished(index, phase));
    });
  }

  /** Accuracy isn't, whatever was said, while an answer is missing: its line may be damaged. */
  isFinished(configuration: number, phase: string): boolean {
    if (!this.over.has(`${configuration} ${phase}`)) return false;
    return phase !== "accuracy" || this.left(this.job.configurations[configuration]!.file).length === 0;
  }

  private of(file: string): Set<number> {
    let found = this.answered.get(file);
    if (found === undefined) this.answered.set(file, (found = new Set()));
    return found;
  }
}
