/** Which file runs, on how many threads, on what. */
import type { ModelFile } from "../core/manifest";
import type { Delegate } from "../runtime/messages";
import { hasWebGpu, mostThreads } from "./device";
import { h, megabytes } from "./dom";
import type { Engine } from "./engine";

export class Settings {
  private readonly status = h("span", { class: "engine", role: "status" });
  /** How far the model's file has come; stands beside the settings, which may be folded. */
  readonly bar = h("progress", { max: 1, "aria-label": "Loading the model", hidden: true });
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    const { choice, files } = engine;
    const file = select("model-file", names(files), choice.file, (value) => void engine.choose({ file: value }));
    const most = mostThreads();
    const counts = [1, 2, 4, 6, 8].filter((n) => n <= most).map(String);
    const threads = select("threads", counts.map((n) => [n, n]), String(choice.threads), (value) =>
      void engine.choose({ threads: Number(value) }),
    );
    threads.disabled = most === 1;
    const delegates: [string, string][] = [["wasm", "CPU"]];
    if (hasWebGpu()) delegates.push(["webgpu", "WebGPU"]);
    const delegate = select("delegate", delegates, choice.delegate, (value) =>
      void engine.choose({ delegate: value as Delegate }),
    );
    const note = most === 1 ? "More threads need cross-origin isolation and HTTPS." : null;
    this.element = h(
      "details",
      { class: "card settings" },
      h("summary", {}, this.status),
      h("div", { class: "choices" }, labelled("File", file), labelled("Threads", threads), labelled("Runs on", delegate)),
      note === null ? null : h("p", { class: "hint" }, note),
    );
    engine.listen(() => this.update());
    this.update();
  }

  private update(): void {
    const { phase } = this.engine;
    this.element.dataset.phase = phase.kind;
    this.bar.hidden = phase.kind !== "loading";
    if (phase.kind === "loading") {
      if (phase.share === null) this.bar.removeAttribute("value");
      else this.bar.value = phase.share;
      this.say(`${phase.text} …`, "");
    } else if (phase.kind === "failed") this.say(phase.text, "bad");
    else {
      const { precision, bytes } = this.engine.file;
      const runtime = this.engine.ready?.runtime ?? "";
      const text = `${precision}, ${megabytes(bytes)} · ${runtime}`;
      this.say(phase.note === null ? text : `${text}. ${phase.note}`, phase.note === null ? "" : "warn");
    }
  }

  private say(text: string, kind: string): void {
    this.status.className = `engine ${kind}`;
    if (this.status.textContent !== text) this.status.textContent = text;
  }
}

/** Files by their precision, and by their name where two have the same. */
function names(files: readonly ModelFile[]): [string, string][] {
  const count = (precision: string): number => files.filter((f) => f.precision === precision).length;
  return files.map((f) => [f.file, count(f.precision) > 1 ? f.file : f.precision]);
}

function select(
  id: string,
  options: readonly (readonly [value: string, text: string])[],
  chosen: string,
  change: (value: string) => void,
): HTMLSelectElement {
  const element = h(
    "select",
    { id, change: () => change(element.value) },
    ...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return element;
}

function labelled(text: string, control: HTMLSelectElement): HTMLElement {
  return h("div", { class: "choice" }, h("label", { for: control.id }, text), control);
}
