/** The harness page: runs a job of `mobilemod harness serve` and sends the lines back. */
import { InputError, messageOf } from "../core/errors";
import { parseJob, Progress } from "../core/job";
import { LineWriter, newRun } from "../core/protocol";
import { runJob, type Status } from "../core/runner";
import { Whole } from "../core/whole";
import { BrowserDevice } from "./browser_device";
import { keepAwake } from "./device";
import { h } from "./dom";
import { Link } from "./link";

const clock = (): number => (performance.timeOrigin + performance.now()) / 1000;

/** Whether this address asks for a job, and which: `/job/TOKEN/` of the page's own origin. */
export function jobAddress(): URL | null {
  const path = new URLSearchParams(location.search).get("job");
  if (path === null) return null;
  if (!/^\/job\/[A-Za-z0-9_-]+\/$/.test(path)) throw new InputError(`This is no job's address: ${path}`);
  return new URL(path, location.origin);
}

export class HarnessPage {
  private readonly headline = h("p", { class: "verdict", role: "status" }, "Fetching the job …");
  private readonly detail = h("p", { class: "hint" });
  private readonly trouble = h("p", { class: "problem", role: "alert", hidden: true });
  private readonly bar = h("progress", { max: 1, "aria-label": "Job" });
  private readonly told = h("ul", { class: "checks" });
  readonly element = h(
    "section",
    { class: "card harness", "data-state": "running" },
    h("h2", {}, "Measuring for mobilemod"),
    h("p", { class: "hint" }, "Keep this page in front and the screen on until it says that it is done."),
    this.headline,
    this.bar,
    this.detail,
    this.trouble,
    this.told,
  );

  private whole: Whole | null = null;

  async run(address: URL): Promise<void> {
    const link = new Link(address, (text) => this.complain(text));
    const release = await keepAwake();
    try {
      await this.work(link);
      this.end("done", "Done. This page can be closed.");
    } catch (error) {
      this.end("failed", messageOf(error));
    } finally {
      release();
    }
  }

  private async work(link: Link): Promise<void> {
    const job = parseJob(new TextDecoder().decode(await link.read("job.json")));
    const held = await link.resume();
    const resumed = (): Progress => {
      const found = new Progress(job);
      if (held !== null) found.addResume(held);
      return found;
    };
    const progress = resumed();
    if (progress.isComplete(job)) return;
    const start = clock();
    this.whole = new Whole(job, resumed(), start);
    const lines = new LineWriter(job.id, newRun(), () => clock() - start, (line) => {
      this.whole!.add(line);
      link.write(line);
    });
    try {
      await runJob(job, new BrowserDevice(link, job), lines, progress, (s) => this.show(s));
    } finally {
      await link.flush(true);
    }
  }

  private show({ text, done, total }: Status): void {
    const { share, secondsLeft } = this.whole!.at(clock());
    this.headline.textContent = secondsLeft === null ? "Running" : `Running, ${minutes(secondsLeft)} left`;
    this.detail.textContent = total > 0 ? `${text}, ${Math.min(done, total)} of ${total}` : text;
    this.bar.value = share;
  }

  private complain(text: string | null): void {
    this.trouble.hidden = text === null;
    this.trouble.textContent = text;
  }

  private end(state: "done" | "failed", text: string): void {
    this.element.dataset.state = state;
    this.headline.className = `verdict ${state === "done" ? "good" : "bad"}`;
    this.headline.textContent = text;
    this.bar.hidden = true;
    this.detail.textContent = "";
    this.told.replaceChildren(...(this.whole?.results() ?? []).map((text) => h("li", { class: "result" }, text)));
    this.complain(null);
  }
}

function minutes(seconds: number): string {
  return seconds < 60 ? "less than a minute" : `about ${Math.round(seconds / 60)} min`;
}
