/** The self-test screen: the bundle's golden images through this browser. */
import { messageOf } from "../core/errors";
import { mapOf } from "../core/answers";
import { fromRuns } from "../core/maps/runs";
import { checkLogits, checkMap, checkPixels, tolerance, type Check } from "../core/selftest";
import type { Model } from "../runtime/model";
import { fetchGolden, goldenAddress } from "./bundle";
import { facts } from "./device";
import { h } from "./dom";
import type { Engine } from "./engine";
import { handOn } from "./handing";
import { readsTurned } from "./turned";
import type { View } from "./view";

const TRIALS = 8;

interface Outcome {
  readonly name: string;
  readonly part: "preprocessing" | "runtime";
  readonly check: Check;
  /** Of the bundle, where it is about one. */
  readonly image?: string;
}

export class SelfTestView implements View {
  readonly name = "Self-test";
  private readonly button = h("button", { class: "primary", click: () => void this.run() }, "Run self-test");
  private readonly share = h("button", { click: () => void this.hand(), hidden: true }, "Share result");
  private record: Record<string, unknown> | null = null;
  private readonly verdict = h("p", { class: "verdict", role: "status" });
  private readonly list = h("ul", { class: "checks" });
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    this.element = h(
      "section",
      { class: "card" },
      h("h2", {}, "Self-test"),
      h(
        "p",
        { class: "hint" },
        "Runs the bundle’s golden images and compares with what the file gave when it was exported. ",
        "Tells a fault of the runtime from a fault in how pictures are read.",
      ),
      h("div", { class: "buttons" }, this.button, this.share),
      this.verdict,
      this.list,
    );
  }

  hide(): void {
    // A run goes on; its outcome stays on the screen.
  }

  private async run(): Promise<void> {
    const model = this.engine.ready;
    if (model === null) return this.conclude(false, "The model is not loaded.");
    this.button.disabled = true;
    this.share.hidden = true;
    this.list.replaceChildren();
    this.verdict.className = "verdict";
    this.verdict.textContent = "Running …";
    try {
      const outcomes = await this.outcomes(model);
      this.record = await this.toRecord(model, outcomes);
      this.share.hidden = false;
      const failed = (part: Outcome["part"]): boolean =>
        outcomes.some((o) => o.part === part && !o.check.passed);
      const faults = (["preprocessing", "runtime"] as const).filter(failed);
      const first = outcomes.find((o) => !o.check.passed);
      if (faults.length === 0) this.conclude(true, `Passed: ${outcomes.length} checks`);
      else this.conclude(false, `Failed in ${faults.join(" and ")}: ${first!.check.text}`);
    } catch (error) {
      this.conclude(false, messageOf(error));
    } finally {
      this.button.disabled = false;
    }
  }

  private async outcomes(model: Model): Promise<Outcome[]> {
    const { bundle, manifest, file } = this.engine;
    const outcomes: Outcome[] = [];
    const add = (outcome: Outcome): void => {
      outcomes.push(outcome);
      const { check, name, image } = outcome;
      const mark = h("strong", { class: check.passed ? "good" : "bad" }, check.passed ? "Pass" : "Fail");
      const address = image === undefined ? null : goldenAddress(bundle, image);
      const picture = address === null ? null : h("img", { class: "thumbnail", src: address, alt: "" });
      this.list.append(h("li", {}, mark, h("span", { class: "of" }, picture, name), h("span", { class: "detail" }, check.text)));
    };
    const turned = await readsTurned();
    const text = turned ? "a turned photo is turned back" : "EXIF orientation is ignored: photos lie on their side";
    add({ name: "Orientation", part: "preprocessing", check: { passed: turned, text } });
    const expected = manifest.golden.map((g) => g.answers[file.file] ?? []);
    const check = (output: Float32Array, answer: readonly number[]): Check => {
      const map = mapOf(manifest, file.target, output);
      if (map !== null) return checkMap(map, fromRuns(answer, map));
      return checkLogits(output, answer, tolerance(expected, file.precision));
    };
    for (const [i, golden] of manifest.golden.entries()) {
      const png = await fetchGolden(bundle, golden.image);
      const { byBrowser, exact } = await model.decodings(png);
      const reading = checkPixels(byBrowser, exact);
      add({ name: `Image ${i + 1}, read`, part: "preprocessing", check: reading, image: golden.image });
      const { logits } = await model.exactPixels(png);
      add({ name: `Image ${i + 1}, computed`, part: "runtime", check: check(logits, expected[i]!), image: golden.image });
    }
    const deviating = await model.deviating(TRIALS);
    const steady = deviating === 0 ? `${TRIALS} runs agree` : `${deviating} of ${TRIALS} runs differ`;
    add({ name: "Repeated runs", part: "runtime", check: { passed: deviating === 0, text: steady } });
    return outcomes;
  }

  /** Of docs/schemas.md. */
  private async toRecord(model: Model, outcomes: readonly Outcome[]): Promise<Record<string, unknown>> {
    const { manifest, choice } = this.engine;
    const { file, sha256, target, precision } = this.engine.file;
    return {
      schema: "mobilemod/app-self-test/1",
      model: manifest.model,
      file: { file, sha256, target, precision },
      threads: choice.threads,
      delegate: choice.delegate,
      runtime: model.runtime,
      ...(await facts()),
      passed: outcomes.every(({ check }) => check.passed),
      checks: outcomes.map(({ name, part, image = null, check }) => ({ name, part, image, ...check })),
    };
  }

  private hand(): Promise<void> {
    return handOn(`${this.engine.file.file}-self-test.json`, `${JSON.stringify(this.record, null, 1)}\n`);
  }

  private conclude(passed: boolean, text: string): void {
    this.verdict.className = `verdict ${passed ? "good" : "bad"}`;
    this.verdict.textContent = text;
  }
}
