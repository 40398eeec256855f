/** The page around the screens: header, tabs, settings. */
import { AccuracyView } from "./accuracy";
import { BenchmarkView } from "./benchmark";
import { fetchBundle, goldenAddress, addressOf, MANIFEST_ADDRESS, type Bundle } from "./bundle";
import { h } from "./dom";
import { Engine } from "./engine";
import { LookView } from "./look";
import { keepForOffline } from "./offline";
import { SelfTestView } from "./selftest";
import { Settings } from "./settings";
import type { View } from "./view";

export async function startApp(header: HTMLElement, main: HTMLElement): Promise<void> {
  const bundle = await fetchBundle();
  const { manifest } = bundle;
  const engine = new Engine(bundle);
  header.append(h("span", { class: "chip" }, manifest.model));
  const views: View[] = [new LookView(engine), new SelfTestView(engine), new BenchmarkView(engine), new AccuracyView(engine)];
  const settings = new Settings(engine);
  const footer = h("p", { class: "hint footer" });
  main.replaceChildren(tabs(views), settings.element, settings.bar, ...views.map((v) => v.element), footer);
  main.dataset.state = "started";
  let kept = false;
  engine.listen(() => {
    const { ready } = engine;
    if (ready === null) return;
    void keepForOffline([...bundleAddresses(bundle, engine), ...ready.fetched], (url) =>
      belongs(url, bundle, engine),
    ).then((offline) => {
      kept ||= offline;
      footer.textContent = kept ? "Works offline now. Nothing leaves this device." : "Nothing leaves this device.";
      document.body.dataset.offline = String(kept);
    });
  });
  await engine.load();
}

/** What the page needs of its bundle without a network: with the file that is chosen. */
function bundleAddresses(bundle: Bundle, engine: Engine): string[] {
  const golden = bundle.manifest.golden.map((g) => goldenAddress(bundle, g.image));
  return [MANIFEST_ADDRESS, addressOf(engine.file), ...golden];
}

function belongs(url: string, bundle: Bundle, engine: Engine): boolean {
  if (url.includes("/wasm/")) return url.includes(RUNTIME_FOLDER);
  const files = engine.files.map(addressOf);
  return [...bundleAddresses(bundle, engine), ...files].some((own) => url.endsWith(`/${own}`));
}

function tabs(views: readonly View[]): HTMLElement {
  let shown = 0;
  const buttons = views.map((view, i) => {
    const id = `panel-${i}`;
    view.element.id = id;
    view.element.setAttribute("role", "tabpanel");
    view.element.setAttribute("aria-labelledby", `tab-${i}`);
    return h("button", { role: "tab", id: `tab-${i}`, "aria-controls": id, click: () => go(i) }, view.name);
  });
  const slugs = views.map(({ name }) => `#${name.toLowerCase()}`);
  const show = (index: number): void => {
    if (index !== shown) views[shown]!.hide();
    shown = index;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
      views[i]!.element.hidden = i !== index;
    });
  };
  const list = h("div", { role: "tablist", class: "tabs", "aria-label": "Screens" }, ...buttons);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const next = (shown + step + views.length) % views.length;
    go(next);
    buttons[next]!.focus();
  });
  // A screen has an address, so that the way back leads to the one before.
  const go = (index: number): void => {
    if (index !== shown) history.pushState(null, "", slugs[index]);
    show(index);
  };
  const follow = (): void => show(Math.max(0, slugs.indexOf(location.hash)));
  addEventListener("popstate", follow);
  follow();
  return list;
}
