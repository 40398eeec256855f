/** Makes the page work without a network once it has run: what it used is kept. */

const CACHE = "used";

/**
 * Registers the service worker where there can be one, then keeps files for it.
 *
 * used: addresses that the page has fetched. valid: whether an address still belongs to this app and
 * bundle; others are thrown out. Returns whether the page works offline now.
 */
export async function keepForOffline(
  used: readonly string[],
  valid: (url: string) => boolean,
): Promise<boolean> {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return false;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    const cache = await caches.open(CACHE);
    const urls = new Set(used.map((u) => new URL(u, document.baseURI).href));
    const kept = new Map((await cache.keys()).map((request) => [request.url, request]));
    for (const [url, request] of kept) if (!valid(url)) await cache.delete(request, { ignoreVary: true });
    // The manifest keeps its address when it changes.
    const missing = [...urls].filter((url) => !kept.has(url) || url.endsWith("/manifest.json"));
    await cache.addAll(missing);
    // What was asked for may not be what is there: storage is short, or a worker of old is at work.
    const needed = ["./", import.meta.url, ...urls];
    const found = await Promise.all(needed.map((url) => caches.match(url, { ignoreVary: true })));
    return found.every((response) => response !== undefined);
  } catch {
    return false;
  }
}
