/** The benchmark screen: runs without pause, and hands the record on. */
import { curve, members, sustained, ticks, type Series } from "../core/benchmark";
import { messageOf } from "../core/errors";
import { summary } from "../core/statistics";
import type { Model } from "../runtime/model";
import { facts, keepAwake, state } from "./device";
import { Figure, h, milliseconds, svg } from "./dom";
import type { Engine } from "./engine";
import { handOn } from "./handing";
import type { View } from "./view";

const DURATIONS: readonly [seconds: number, text: string][] = [
  [10, "10 seconds"],
  [60, "1 minute"],
  [600, "10 minutes"],
];
const POINTS = 60;
/** The parts of a run that are compared: a minute, or a fifth of a shorter run. */
const PART = (seconds: number): number => Math.min(60, seconds / 5);

export class BenchmarkView implements View {
  readonly name = "Benchmark";
  private readonly duration = h(
    "select",
    { id: "duration" },
    ...DURATIONS.map(([seconds, text]) => h("option", { value: seconds }, text)),
  );
  private readonly button = h("button", { class: "primary", click: () => void this.toggle() }, "Run");
  private readonly share = h("button", { click: () => void this.hand(), hidden: true }, "Share record");
  private readonly figures = {
    p50: new Figure("p50", "ms"),
    p90: new Figure("p90", "ms"),
    p99: new Figure("p99", "ms"),
    min: new Figure("Fastest", "ms"),
    runs: new Figure("Inferences"),
    load: new Figure("Load", "s"),
    first: new Figure("First inference", "ms"),
    memory: new Figure("Memory", "MB"),
  };
  private readonly status = h("p", { class: "hint", role: "status" });
  private readonly bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Benchmark" });
  private readonly chart = svg("svg", {
    class: "chart",
    viewBox: "0 0 300 90",
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": "Median latency over the run",
  });
  private readonly scale = h("div", { class: "scale", "aria-hidden": "true" });
  private readonly axis = h("p", { class: "hint axis", "aria-hidden": "true" });
  private stopped = true;
  private record: Record<string, unknown> | null = null;
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    const figures = h("dl", { class: "figures" }, ...Object.values(this.figures).map((f) => f.element));
    const choice = h("label", { for: "duration" }, "For ");
    this.element = h(
      "section",
      { class: "card" },
      h("h2", {}, "Benchmark"),
      h("p", { class: "hint" }, "A fresh load, then one inference after another. Keep the page in front."),
      h("div", { class: "buttons" }, choice, this.duration, this.button, this.share),
      this.bar,
      this.status,
      figures,
      h("div", { class: "chart-box" }, this.scale, this.chart, this.axis),
    );
  }

  hide(): void {
    // A sustained run goes on while another screen is looked at.
  }

  private async toggle(): Promise<void> {
    if (!this.stopped) {
      this.stopped = true;
      return;
    }
    this.stopped = false;
    this.button.textContent = "Stop";
    this.share.hidden = true;
    this.bar.hidden = false;
    this.status.textContent = "Loading …";
    const release = await keepAwake();
    try {
      await this.run(Number(this.duration.value));
    } catch (error) {
      this.status.textContent = messageOf(error);
    } finally {
      release();
      this.stopped = true;
      this.button.textContent = "Run";
      this.bar.hidden = true;
    }
  }

  private async run(seconds: number): Promise<void> {
    const { choice } = this.engine;
    const model = await this.engine.fresh();
    try {
      this.figures.load.set(model.seconds.toFixed(2));
      this.figures.first.set(milliseconds(model.firstInferenceMs));
      const series = await this.measure(model, seconds);
      const memory = await model.heapBytes();
      this.figures.memory.set((memory / 1e6).toFixed(0));
      this.record = await this.toRecord(model, series, choice.threads, memory, PART(seconds));
      this.status.textContent = this.conclusion(series, PART(seconds));
      this.share.hidden = false;
    } finally {
      model.close();
    }
  }

  private async measure(model: Model, seconds: number): Promise<Series> {
    const at: number[] = [];
    const ms: number[] = [];
    let start: number | null = null;
    let drawn = 0;
    for (let elapsed = 0; elapsed < seconds && !this.stopped; ) {
      const times = await model.time(4);
      if (times.failed !== null) throw new Error(times.failed);
      start ??= times.at[0]!;
      at.push(...times.at.map((t) => t - start!));
      ms.push(...times.ms);
      elapsed = at.at(-1)!;
      if (performance.now() - drawn > 250) {
        drawn = performance.now();
        this.draw({ at, ms });
        this.bar.value = elapsed / seconds;
        this.status.textContent = `${elapsed.toFixed(0)} of ${seconds} s`;
      }
    }
    this.draw({ at, ms });
    return { at, ms };
  }

  private draw(series: Series): void {
    const found = summary(series.ms);
    this.figures.p50.set(milliseconds(found.p50));
    this.figures.p90.set(milliseconds(found.p90));
    this.figures.p99.set(milliseconds(found.p99));
    this.figures.min.set(milliseconds(found.min));
    this.figures.runs.set(String(found.runs));
    const medians = curve(series, POINTS);
    const top = Math.max(...medians.filter(Number.isFinite), 1) * 1.15;
    const point = (v: number, i: number): string =>
      `${((i / (POINTS - 1)) * 300).toFixed(1)},${(90 - (v / top) * 90).toFixed(1)}`;
    const points = medians.map((v, i) => (Number.isFinite(v) ? point(v, i) : "")).filter(Boolean);
    const heights = ticks(top);
    const lines = heights.map((v) => {
      const y = 90 - (v / top) * 90;
      return svg("line", { x1: 0, x2: 300, y1: y, y2: y });
    });
    this.chart.replaceChildren(...lines, svg("polyline", { points: points.join(" ") }));
    this.scale.replaceChildren(
      ...heights.map((v) => {
        const label = h("span", {}, `${v} ms`);
        label.style.bottom = `${(100 * v) / top}%`;
        return label;
      }),
    );
    const end = series.at.at(-1) ?? 0;
    this.axis.replaceChildren(...[0, 0.5, 1].map((part) => h("span", {}, `${(end * part).toFixed(0)} s`)));
  }

  private conclusion(series: Series, part: number): string {
    const found = sustained(series, part);
    if (found === null) return "Stopped early.";
    const change = found.loss_percent;
    const speed =
      Math.abs(change) < 1
        ? "as fast as"
        : `${Math.abs(change).toFixed(0)} % ${change > 0 ? "slower" : "faster"} than`;
    return `Done. The last ${part.toFixed(0)} s were ${speed} the first.`;
  }

  /** The record of docs/schemas.md, with the whole series. */
  private async toRecord(
    model: Model,
    series: Series,
    threads: number,
    memory: number,
    part: number,
  ): Promise<Record<string, unknown>> {
    const { file, precision, target, sha256 } = this.engine.file;
    const change = sustained(series, part);
    return {
      schema: "mobilemod/app-benchmark/1",
      model: this.engine.manifest.model,
      file: { file, sha256, target, precision },
      threads,
      delegate: this.engine.choice.delegate,
      runtime: model.runtime,
      ...(await facts()),
      load_seconds: model.seconds,
      first_inference_ms: model.firstInferenceMs,
      warm_up_runs: 0,
      latency: members(summary(series.ms)),
      sustained: change && {
        first: members(change.first),
        last: members(change.last),
        loss_percent: change.loss_percent,
      },
      ...series,
      states: [{ t: series.at.at(-1), ...(await state(memory)) }],
    };
  }

  private async hand(): Promise<void> {
    const text = `${JSON.stringify(this.record, null, 1)}\n`;
    await handOn(`${this.engine.file.file}-browser.json`, text);
  }
}
