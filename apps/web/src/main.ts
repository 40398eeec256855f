import "./styles.css";
import { messageOf } from "./core/errors";
import { h } from "./app/dom";
import { NoModel } from "./app/bundle";
import { askForCode, isHarness } from "./app/code";
import { HarnessPage, jobAddress } from "./app/harness";
import { startApp } from "./app/shell";

const header = document.querySelector<HTMLElement>("header")!;
const main = document.querySelector<HTMLElement>("main")!;

async function start(): Promise<void> {
  // index.html tells of a script that doesn't get here.
  main.dataset.state = "starting";
  const job = jobAddress();
  if (job === null) return startApp(header, main);
  const page = new HarnessPage();
  main.replaceChildren(page.element);
  await page.run(job);
}

start().catch(async (error: unknown) => {
  if (error instanceof NoModel && (await isHarness())) {
    main.dataset.state = "code";
    return main.replaceChildren(askForCode());
  }
  main.dataset.state = "failed";
  main.replaceChildren(h("p", { class: "problem", role: "alert" }, messageOf(error)));
});
