import { describe, expect, test } from "vitest";
import { Progress, type Configuration } from "../../src/core/job";
import { decodeLine, encodeLine, isJobId, isSafePath, LineWriter } from "../../src/core/protocol";
import { vectors } from "./vectors";

interface Vectors {
  lines: { text: string; ok: boolean; value?: Record<string, unknown> }[];
  paths: { good: string[]; bad: string[] };
  ids: { good: string[]; bad: string[] };
  resume: {
    job: string;
    configurations: Configuration[];
    count: number;
    lines: string[];
    answered: Record<string, [number, number][]>;
    left: Record<string, number[]>;
  };
}

const { lines, paths, ids, resume } = vectors<Vectors>("protocol.json");

test("lines are read and written as Python's", () => {
  for (const { text, ok, value } of lines) {
    expect(decodeLine(text)).toEqual(ok ? value : null);
    if (ok) expect(encodeLine(value!)).toBe(text);
  }
});

test("paths and ids that a device may not take are refused", () => {
  expect(paths.good.every(isSafePath)).toBe(true);
  expect(paths.bad.filter(isSafePath)).toEqual([]);
  expect(ids.good.every(isJobId)).toBe(true);
  expect(ids.bad.filter(isJobId)).toEqual([]);
});

describe("what is left after an interruption", () => {
  const { job: id, configurations, count } = resume;
  const held = { id, configurations, inputs: { count } };

  test("equals Python's", () => {
    const progress = new Progress(held);
    for (const line of resume.lines) progress.addLine(line);
    const answered = { schema: "mobilemod/resume/1", job: resume.job, answered: resume.answered, finished: [[1, "golden"]] };
    progress.addResume(JSON.stringify(answered));
    for (const [file, left] of Object.entries(resume.left)) {
      expect(progress.left(file)).toEqual(left);
    }
    expect([progress.isFinished(1, "golden"), progress.isFinished(0, "golden")]).toEqual([true, false]);
  });

  test("another job's is refused", () => {
    const progress = new Progress(held);
    const other = { schema: "mobilemod/resume/1", job: "f".repeat(64), answered: {}, finished: [] };
    expect(() => progress.addResume(JSON.stringify(other))).toThrow("another job");
  });
});

test("a writer numbers its lines, and what isn't finite becomes null", () => {
  const written: string[] = [];
  const writer = new LineWriter("ab".repeat(32), "0".repeat(16), () => 1.5, (l) => written.push(l));
  writer.emit("golden", { logits: [NaN, 1] });
  writer.emit("done", {});
  expect(written.map(decodeLine)).toEqual([
    { type: "golden", job: "ab".repeat(8), run: "0".repeat(16), seq: 0, t: 1.5, logits: [null, 1] },
    { type: "done", job: "ab".repeat(8), run: "0".repeat(16), seq: 1, t: 1.5 },
  ]);
  expect(() => writer.emit("golden", { x: "y".repeat(1 << 20) })).toThrow("exceeds");
});
