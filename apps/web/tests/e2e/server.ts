/** Serves the built app as a plain host would, with a bundle of the test's choice as its model. */
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

export const DIST = join(import.meta.dirname, "../../dist");

/** Where parity.test.ts builds its page. */
export const TESTING = join(import.meta.dirname, "../../node_modules/.testing");

const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
};

export interface Site {
  readonly url: string;
  /** Paths that were asked for, in order. */
  readonly asked: string[];
  close(): Promise<void>;
}

export interface Host {
  /** With the headers that give a page threads. */
  readonly isolated?: boolean;
  /** The `Vary` of every answer. */
  readonly vary?: string;
  readonly port?: number;
  /** Paths that it doesn't have, though the app does. */
  readonly lacks?: RegExp;
  /** Answers beside the files, JSON. */
  readonly more?: Readonly<Record<string, string>>;
}

export async function serve(bundle: string, host: Host = {}): Promise<Site> {
  const { isolated = true, vary, port = 0, lacks, more = {} } = host;
  const asked: string[] = [];
  const server: Server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://x").pathname));
    asked.push(path);
    const file = path.startsWith("/model/")
      ? join(bundle, path.slice(7))
      : path.startsWith("/testing/")
        ? join(TESTING, path.slice(9))
        : join(DIST, path === "/" ? "index.html" : path);
    const headers: Record<string, string> = {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Cache-Control": /\/(assets|wasm)\//.test(path) ? "max-age=31536000, immutable" : "no-cache",
    };
    if (vary !== undefined) headers.Vary = vary;
    if (isolated) {
      headers["Cross-Origin-Opener-Policy"] = "same-origin";
      headers["Cross-Origin-Embedder-Policy"] = "require-corp";
    }
    try {
      if (lacks?.test(path)) throw new Error("not here");
      const body = more[path] ?? (await readFile(file));
      response.writeHead(200, headers).end(body);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
