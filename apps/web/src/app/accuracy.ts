/** The accuracy screen: the bundle's files on labelled images, a folder or an archive, that stay on the device. */
import { InputError, messageOf } from "../core/errors";
import { labelledFiles, spread, type Labelled } from "../core/folder";
import { parseJob, Progress } from "../core/job";
import { localJob, type LocalFile, type LocalItem } from "../core/local_job";
import type { ModelFile } from "../core/manifest";
import { decodeLine, LineWriter, newRun, type Values } from "../core/protocol";
import { runJob } from "../core/runner";
import { zipEntries } from "../core/zip";
import { digest, fetchGolden, fetchModel, MANIFEST_ADDRESS } from "./bundle";
import { BrowserDevice } from "./browser_device";
import { keepAwake } from "./device";
import { Figure, h } from "./dom";
import type { Engine } from "./engine";
import { handOn } from "./handing";
import { twinOf } from "./pair";
import type { View } from "./view";

const COUNTS: readonly [number, string][] = [
  [100, "100 images"],
  [500, "500 images"],
  [Infinity, "all images"],
];
const SHOWN_CHANGES = 60;

/** An image; "/" between the folders of its path. */
interface Source {
  readonly path: string;
  blob(): Promise<Blob>;
}

type Picture = Labelled<Source>;

const bytesOf = async ({ file }: Picture): Promise<Uint8Array<ArrayBuffer>> => new Uint8Array(await (await file.blob()).arrayBuffer());

export class AccuracyView implements View {
  readonly name = "Accuracy";
  private readonly count = h("select", { id: "count" }, ...COUNTS.map(([n, text]) => h("option", { value: n }, text)));
  private readonly input = h("input", {
    type: "file", id: "folder", class: "visually-hidden", webkitdirectory: true, multiple: true,
    change: () => void this.choose(this.input, async (files) => files.map((file) => ({ path: file.webkitRelativePath, blob: async () => file }))),
  });
  private readonly archive = h("input", {
    type: "file", id: "archive", class: "visually-hidden", accept: ".zip,application/zip",
    change: () => void this.choose(this.archive, async ([file]) => unzipped(file!)),
  });
  private readonly stop = h("button", { hidden: true, click: () => (this.stopped = true) }, "Stop");
  private readonly save = h("button", { hidden: true, click: () => void this.hand() }, "Save record");
  private readonly status = h("p", { class: "hint", role: "status" });
  private readonly problem = h("p", { class: "problem", role: "alert", hidden: true });
  private readonly bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Accuracy" });
  private readonly figures = h("dl", { class: "figures" });
  private readonly changes = h("ul", { class: "changes" });
  private job = "";
  private lines: string[] = [];
  private stopped = false;
  readonly element: HTMLElement;

  constructor(private readonly engine: Engine) {
    const maps = engine.manifest.map !== null;
    const hint = maps
      ? "For classifiers only: a folder has no labels for the pixels of a picture. “mobilemod validate” measures maps."
      : "Choose a folder with a folder of images for each class (or one of train and val), or a .zip of it. It stays on this device.";
    const labels = [["folder", "Choose folder"], ["archive", "Choose .zip"]] as const;
    const [folder, archive] = labels.map(([id, text]) => h("label", { for: id, class: "button" }, text));
    const controls = [h("label", { for: "count" }, "On "), this.count, this.input, folder!, this.archive, archive!, this.stop, this.save];
    this.element = h(
      "section",
      { class: "card" },
      h("h2", {}, "Accuracy"),
      h("p", { class: "hint" }, hint),
      maps ? null : h("div", { class: "buttons" }, ...controls),
      this.bar,
      this.status,
      this.problem,
      this.figures,
      this.changes,
    );
  }

  hide(): void {
    // A run goes on while another screen is looked at.
  }

  private async choose(input: HTMLInputElement, sourcesOf: (files: readonly File[]) => Promise<Source[]>): Promise<void> {
    const files = [...(input.files ?? [])];
    input.value = "";
    if (files.length === 0) return;
    this.problem.hidden = true;
    this.save.hidden = true;
    this.figures.replaceChildren();
    this.changes.replaceChildren();
    this.input.disabled = this.archive.disabled = true;
    this.stop.hidden = this.bar.hidden = this.stopped = false;
    const release = await keepAwake();
    try {
      const all = labelledFiles(await sourcesOf(files), ({ path }) => path, this.engine.manifest.labels);
      await this.run(spread(all, Number(this.count.value)), all.length);
    } catch (error) {
      this.status.textContent = this.stopped ? "Stopped." : "";
      this.problem.hidden = this.stopped;
      this.problem.textContent = messageOf(error);
    } finally {
      release();
      this.input.disabled = this.archive.disabled = false;
      this.stop.hidden = this.bar.hidden = true;
    }
  }

  private async run(pictures: readonly Picture[], of: number): Promise<void> {
    const { engine } = this;
    const twin = twinOf(engine);
    const models = twin === null ? [engine.file] : [engine.file, twin];
    this.status.textContent = `Reading ${pictures.length} of ${of} images …`;
    const manifest = new Uint8Array(await (await fetch(MANIFEST_ADDRESS)).arrayBuffer());
    const items: LocalItem[] = [];
    for (const [i, picture] of pictures.entries()) {
      const { name, target } = picture;
      const sha256 = await digest(await bytesOf(picture));
      items.push({ name, path: `inputs/${String(i).padStart(6, "0")}`, sha256, target });
    }
    const golden = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const { image } of engine.manifest.golden) golden.set(image, await fetchGolden(engine.bundle, image));
    const hashed: LocalFile[] = [];
    for (const [path, bytes] of golden) hashed.push({ path, sha256: await digest(bytes) });
    this.job = localJob(engine.manifest, await digest(manifest), models, items, hashed);
    const job = parseJob(this.job);
    const sources = new Map<string, () => Promise<Uint8Array>>([
      ["manifest.json", async () => manifest],
      ...[...golden].map(([path, bytes]) => [path, async () => bytes] as const),
      ...models.map((file) => [`models/${file.file}`, () => fetchModel(file, () => undefined)] as const),
      ...pictures.map((picture, i) => [items[i]!.path, () => bytesOf(picture)] as const),
    ]);
    this.lines = [];
    const device = new BrowserDevice({
      read: (path) => sources.get(path)!(),
      flush: async () => {
        if (this.stopped) throw new InputError("stopped");
      },
    }, job);
    const start = device.now();
    const lines = new LineWriter(job.id, newRun(), () => device.now() - start, (line) => this.lines.push(line));
    await runJob(job, device, lines, new Progress(job), ({ text, done, total }) => {
      const at = Math.max(0, models.findIndex(({ file }) => text.startsWith(file)));
      this.bar.value = (at + done / Math.max(total, 1)) / models.length;
      this.status.textContent = `${text}, ${done} of ${total}`;
    });
    await this.conclude(models, pictures);
    this.save.hidden = false;
  }

  private async conclude(models: readonly ModelFile[], pictures: readonly Picture[]): Promise<void> {
    const answers = models.map(() => new Map<number, number>());
    for (const line of this.lines.map((text) => decodeLine(text) as Values)) {
      if (line.type !== "image") continue;
      const top = line.top as [number, number][];
      answers[Number(line.configuration)]!.set(Number(line.image), top[0]?.[0] ?? -1);
    }
    const read = pictures.filter((_, i) => answers.every((of) => of.has(i))).length;
    const percents = answers.map((of) => {
      const right = [...of].filter(([i, best]) => best === pictures[i]!.target).length;
      return (100 * right) / of.size;
    });
    const add = (label: string, value: number, unit: string): void => {
      const figure = new Figure(label, unit);
      figure.set(value.toFixed(2));
      this.figures.append(figure.element);
    };
    models.forEach(({ precision }, k) => add(`top-1, ${precision}`, percents[k]!, "%"));
    if (models.length === 2) add("Drop", percents[1]! - percents[0]!, "points");
    const unread = pictures.length - read;
    const changed = pictures.flatMap((picture, i) => {
      const [own, twin] = answers.map((of) => of.get(i));
      return models.length === 2 && own !== undefined && own !== twin ? [{ picture, own, twin: twin! }] : [];
    });
    const parts = [
      `${read} images, ${changed.length} of them answered otherwise by ${models[0]!.precision}`,
      ...(unread > 0 ? [`${unread} can’t be decoded here`] : []),
    ];
    this.status.textContent = `${parts.join("; ")}.`;
    const label = (index: number): string => this.engine.manifest.labels[index]?.label ?? "no answer";
    for (const { picture, own, twin } of changed.slice(0, SHOWN_CHANGES)) {
      const image = h("img", { class: "thumbnail", alt: picture.name, loading: "lazy" });
      image.src = URL.createObjectURL(await picture.file.blob());
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      const right = label(picture.target);
      const text = `${right}: ${models[1]!.precision} ${label(twin)}, ${models[0]!.precision} ${label(own)}`;
      this.changes.append(h("li", { class: "of" }, image, text));
    }
  }

  /** The job and its lines, as the harness has them on disk. */
  private async hand(): Promise<void> {
    await handOn("job.json", this.job);
    await handOn("lines.jsonl", this.lines.map((line) => `${line}\n`).join(""), "application/jsonl");
  }
}

async function unzipped(archive: File): Promise<Source[]> {
  const entries = await zipEntries(archive);
  return entries.map(({ name, bytes }) => ({ path: name, blob: async () => new Blob([await bytes()]) }));
}
