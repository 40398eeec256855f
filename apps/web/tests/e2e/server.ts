/** Serves the built app as a plain host would, with a bundle of the test's choice as its model. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const DIST = join(import.meta.dirname, "../../dist");

/** Where parity.test.ts builds its page. */
export const TESTING = join(import.meta.dirname, "../../node_modules/.testing");

/** What a slow network brings at once. */
const PIECE = 16_384;

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
  /** Bytes of all answers' bodies. */
  readonly sent: () => number;
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
  /** A network of so many bytes a second for all answers together, each `latency` ms late. */
  readonly link?: { readonly rate: number; readonly latency: number };
  /** Answers beside the files, JSON. */
  readonly more?: Readonly<Record<string, string>>;
}

type Send = (response: ServerResponse, body: Buffer) => Promise<void>;

const whole: Send = async (response, body) => void response.end(body);

/** All answers share the one link, a piece at a time. */
function paced({ rate, latency }: { readonly rate: number; readonly latency: number }): Send {
  let free = 0;
  return async (response, body) => {
    await sleep(latency);
    for (let at = 0; at < body.length; at += PIECE) {
      const piece = body.subarray(at, at + PIECE);
      free = Math.max(free, performance.now()) + (1000 * piece.length) / rate;
      await sleep(free - performance.now());
      response.write(piece);
    }
    response.end();
  };
}

export async function serve(bundle: string, host: Host = {}): Promise<Site> {
  const { isolated = true, vary, port = 0, lacks, link, more = {} } = host;
  const send = link === undefined ? whole : paced(link);
  let sent = 0;
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
      const packed = link !== undefined && existsSync(`${file}.br`) ? ".br" : "";
      if (packed !== "") headers["Content-Encoding"] = "br";
      const body = Buffer.from(more[path] ?? (await readFile(file + packed)));
      sent += body.length;
      response.writeHead(200, { ...headers, "Content-Length": body.length });
      await send(response, body);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    asked,
    sent: () => sent,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
