import { Model } from "./runtime/model";
import { parseManifest } from "./core/manifest";
(window as any).go = async (threads: number, name: string) => {
  const m = parseManifest(await (await fetch("model/manifest.json")).text());
  const model = await Model.load({ wasm: new URL(RUNTIME_FOLDER, location.href).href, model: new Uint8Array(await (await fetch("model/" + name)).arrayBuffer()), preprocess: m.preprocess, threads, delegate: "wasm" });
  const out: any = { seconds: model.seconds, first: model.firstInferenceMs, rt: model.runtime, iso: crossOriginIsolated };
  const png = new Uint8Array(await (await fetch("model/golden/1.png")).arrayBuffer());
  const a = await model.exactPixels(png);
  out.logits = Array.from(a.logits); out.want = m.golden[1]!.logits[name];
  const d = await model.decodings(png);
  out.diff = Array.from(d.exact.data).filter((v, i) => v !== d.byBrowser.data[i]).length;
  out.dev = await model.deviating(10);
  out.times = (await model.time(20)).ms;
  out.heap = await model.heapBytes();
  model.close();
  return out;
};
