/** Which file runs, on how many threads, on what. */
import type { Delegate } from "../runtime/messages";
import { hasWebGpu, mostThreads } from "./device";
import { h, megabytes } from "./dom";
import type { Engine } from "./engine";

export class Settings {
  private readonly status = h("p", { class: "engine", role: "status" });
  private readonly bar = h("progress", { max: 1, "aria-label": "Loading the model", hidden: true });
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    const { choice, files } = engine;
    const file = select(
      "model-file",
      files.map((f) => [f.file, `${f.precision} · ${megabytes(f.bytes)}`]),
      choice.file,
      (value) => void engine.choose({ file: value }),
    );
    const most = mostThreads();
    const counts = [1, 2, 4, 6, 8].filter((n) => n <= most);
    const threads = select(
      "threads",
      counts.map((n) => [String(n), n === 1 ? "1 thread" : `${n} threads`]),
      String(choice.threads),
      (value) => void engine.choose({ threads: Number(value) }),
    );
    threads.disabled = most === 1;
    const delegates: [string, string][] = [["wasm", "CPU (WebAssembly)"]];
    if (hasWebGpu()) delegates.push(["webgpu", "GPU (WebGPU)"]);
    const delegate = select("delegate", delegates, choice.delegate, (value) =>
      void engine.choose({ delegate: value as Delegate }),
    );
    const note = most === 1 ? "More threads need cross-origin isolation and HTTPS." : null;
    this.element = h(
      "section",
      { class: "card settings", "aria-label": "Model" },
      h("div", { class: "choices" }, labelled("File", file), labelled("Threads", threads), labelled("Runs on", delegate)),
      note === null ? null : h("p", { class: "hint" }, note),
      this.bar,
      this.status,
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
      const runtime = this.engine.ready?.runtime ?? "";
      this.say([runtime, phase.note].filter(Boolean).join(". "), phase.note === null ? "" : "warn");
    }
  }

  private say(text: string, kind: string): void {
    this.status.className = `engine ${kind}`;
    if (this.status.textContent !== text) this.status.textContent = text;
  }
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
