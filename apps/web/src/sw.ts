/** Keeps the app usable without a network: its own files at once, model and runtime once used. */
/// <reference lib="webworker" />

const worker = self as unknown as ServiceWorkerGlobalScope;
const SHELL = "shell-SHELL_VERSION";
const FILES = "SHELL_FILES".split("\n");
/** Filled by the page (src/app/offline.ts). */
const USED = "used";

worker.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(SHELL)
      .then((cache) => cache.addAll(["./", ...FILES].map((url) => new Request(url, { cache: "no-cache" }))))
      .then(() => worker.skipWaiting()),
  );
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((n) => n !== SHELL && n !== USED))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => worker.clients.claim()),
  );
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const own = url.origin === location.origin && !url.pathname.includes("/job/");
  if (request.method === "GET" && own) event.respondWith(answer(request, url));
});

/** Pages and the manifest: the newest where there is a network. The rest never changes by name. */
async function answer(request: Request, url: URL): Promise<Response> {
  const changing = request.mode === "navigate" || url.pathname.endsWith("/manifest.json");
  if (changing) {
    try {
      return await fetch(request);
    } catch {
      return (await kept(request)) ?? Response.error();
    }
  }
  return (await kept(request)) ?? fetch(request);
}

/** A module is asked for with other headers than it was kept with, and hosts may send `Vary`. */
async function kept(request: Request): Promise<Response | undefined> {
  const page = request.mode === "navigate";
  const found = await caches.match(request, { ignoreVary: true, ignoreSearch: page });
  if (found !== undefined || !page) return found;
  return caches.match("./", { ignoreVary: true });
}
