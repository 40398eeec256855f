/** Lines of the harness protocol (docs/harness-protocol.md). */
import { crcHex } from "./crc32";
import { InputError } from "./errors";

export const PROTOCOL = "mobilemod/harness/1";
export const MAX_LINE_BYTES = 1 << 20;

/** What a line says, without `crc`. */
export type Values = Readonly<Record<string, unknown>>;

const CHECK = /,"crc":"([0-9a-f]{8})"\}$/;
const encoder = new TextEncoder();

/** A line without its line feed; what isn't finite becomes null. */
export function encodeLine(values: Values): string {
  const body = JSON.stringify(values).slice(0, -1);
  const line = `${body},"crc":"${crcHex(encoder.encode(body))}"}`;
  if (encoder.encode(line).length >= MAX_LINE_BYTES) {
    throw new InputError(`a line of type ${String(values.type)} exceeds ${MAX_LINE_BYTES} bytes`);
  }
  return line;
}

/** A line's values, or null where it is damaged. */
export function decodeLine(text: string): Values | null {
  text = text.replace(/[\r\n]+$/, "");
  const check = CHECK.exec(text);
  if (check === null) return null;
  const body = text.slice(0, check.index);
  const bytes = encoder.encode(body);
  if (bytes.length >= MAX_LINE_BYTES || crcHex(bytes) !== check[1]) return null;
  try {
    const value: unknown = JSON.parse(`${body}}`);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Values) : null;
  } catch {
    return null;
  }
}

/** Whether a device may open this path of a job folder. */
export function isSafePath(path: string): boolean {
  return path.split("/").every((p) => /^[A-Za-z0-9._-]+$/.test(p) && p !== "." && p !== "..");
}

/** Whether this is a job's id: 64 lower-case hex digits. */
export function isJobId(id: string): boolean {
  return /^[0-9a-f]{64}$/.test(id);
}

/** 16 random hex digits: the name of one start of a job. */
export function newRun(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Numbers and dates the lines of one run. */
export class LineWriter {
  private seq = 0;

  /**
   * jobId: the whole id. seconds: since the run's start, monotonic. write: takes a line without its
   * line feed.
   */
  constructor(
    private readonly jobId: string,
    readonly run: string,
    readonly seconds: () => number,
    private readonly write: (line: string) => void,
  ) {}

  emit(type: string, values: Values): void {
    const head = {
      type,
      job: this.jobId.slice(0, 16),
      run: this.run,
      seq: this.seq++,
      t: round(this.seconds(), 6),
    };
    this.write(encodeLine({ ...head, ...values }));
  }
}

/** `value` with so many decimals: digits that no clock has are not sent. */
export function round(value: number, decimals: number): number {
  return Number(value.toFixed(decimals));
}
