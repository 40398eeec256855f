import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, extname, join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const LITERT = join(import.meta.dirname, "node_modules/@litertjs/core");
const LITERT_VERSION = (JSON.parse(readFileSync(join(LITERT, "package.json"), "utf8")) as { version: string })
  .version;
/** Those that the app loads: with relaxed SIMD, the same with threads, and for older browsers. */
const RUNTIME_FILES = ["", "_threaded", "_compat"].flatMap((kind) =>
  ["js", "wasm"].map((end) => `litert_wasm${kind}_internal.${end}`),
);
const RUNTIME_FOLDER = `wasm/${LITERT_VERSION}/`;

/** What a page needs to get shared memory, and with it threads. */
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** LiteRT.js' files, served from the page's own origin. */
function runtimeFiles(): Plugin {
  return {
    name: "litert-files",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const name = basename(new URL(request.url ?? "/", "http://x").pathname);
        if (!request.url?.includes(RUNTIME_FOLDER) || !RUNTIME_FILES.includes(name)) return next();
        response.setHeader("Content-Type", name.endsWith(".js") ? "text/javascript" : "application/wasm");
        for (const [key, value] of Object.entries(ISOLATION)) response.setHeader(key, value);
        createReadStream(join(LITERT, "wasm", name)).pipe(response);
      });
    },
    generateBundle() {
      for (const name of RUNTIME_FILES) {
        const source = readFileSync(join(LITERT, "wasm", name));
        this.emitFile({ type: "asset", fileName: RUNTIME_FOLDER + name, source });
      }
    },
  };
}

/** Best first: what hosts look for beside a file, and how it is made. */
const COMPRESSED = {
  ".br": ["br", (b: Uint8Array) => brotliCompressSync(b, { params: { [constants.BROTLI_PARAM_QUALITY]: 6, [constants.BROTLI_PARAM_LGWIN]: 24 } })],
  ".gz": ["gzip", (b: Uint8Array) => gzipSync(b, { level: 9 })],
} as const;
/** The runtime's take seconds: they are kept. */
const KEPT = join(import.meta.dirname, "node_modules/.compressed", LITERT_VERSION);

/** Compressed files beside the built ones, for hosts that hand them out; `npm run preview` does. */
function compressed(): Plugin {
  const pack = (name: string, content: Uint8Array, end: keyof typeof COMPRESSED): Uint8Array => {
    const kept = join(KEPT, basename(name) + end);
    const lasting = name.startsWith("wasm/");
    if (lasting && existsSync(kept)) return readFileSync(kept);
    const packed = COMPRESSED[end][1](content);
    mkdirSync(KEPT, { recursive: true });
    if (lasting) writeFileSync(kept, packed);
    return packed;
  };
  return {
    name: "compressed",
    apply: "build",
    enforce: "post",
    writeBundle({ dir }, bundle) {
      for (const name of Object.keys(bundle).filter((n) => /\.(js|css|wasm)$/.test(n))) {
        const content = readFileSync(join(dir!, name));
        for (const end of [".br", ".gz"] as const) writeFileSync(join(dir!, name + end), pack(name, content, end));
      }
    },
  };
}

function previewCompressed(): Plugin {
  const types: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };
  return {
    name: "preview-compressed",
    configurePreviewServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = new URL(request.url ?? "/", "http://x").pathname;
        const accepted = String(request.headers["accept-encoding"] ?? "");
        const type = types[extname(path)];
        const file = join(import.meta.dirname, "dist", path);
        const found = Object.entries(COMPRESSED).find(([end, [name]]) => accepted.includes(name) && existsSync(file + end));
        if (type === undefined || found === undefined) return next();
        response.setHeader("Content-Type", type);
        response.setHeader("Content-Encoding", found[1][0]);
        response.setHeader("Vary", "Accept-Encoding, Origin");
        response.setHeader("Cache-Control", /^\/(assets|wasm)\//.test(path) ? "max-age=31536000, immutable" : "no-cache");
        for (const [key, value] of Object.entries(ISOLATION)) response.setHeader(key, value);
        createReadStream(file + found[0]).pipe(response);
      });
    },
  };
}

/** Tells the service worker what the page consists of; model and runtime are added when used. */
function offlineShell(): Plugin {
  return {
    name: "offline-shell",
    apply: "build",
    enforce: "post",
    generateBundle(_, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") throw new Error("the service worker was not built");
      const built = Object.keys(bundle).filter((n) => n !== "sw.js" && !n.startsWith("wasm/"));
      const publicFolder = join(import.meta.dirname, "public");
      const copied = filesIn(publicFolder)
        .map((path) => relative(publicFolder, path))
        .filter((path) => !path.startsWith("model"));
      const digest = createHash("sha256");
      for (const name of built.sort()) {
        const entry = bundle[name]!;
        digest.update(name).update(entry.type === "chunk" ? entry.code : entry.source);
      }
      for (const name of copied.sort()) digest.update(readFileSync(join(publicFolder, name)));
      worker.code = worker.code
        .replace(/(["'`])SHELL_FILES\1/, JSON.stringify([...built, ...copied].join("\n")))
        .replace("SHELL_VERSION", digest.digest("hex").slice(0, 12));
    },
  };
}

/** Allows the page's one script of its own by its hash. */
function inlineScript(): Plugin {
  return {
    name: "inline-script",
    apply: "build",
    transformIndexHtml(html) {
      const script = /<script>([\s\S]*?)<\/script>/.exec(html)![1]!;
      return html.replace(" INLINE;", ` 'sha256-${createHash("sha256").update(script).digest("base64")}';`);
    },
  };
}

/** The development server injects styles and code, which the page's policy forbids. */
function openInDevelopment(): Plugin {
  const policy = /<meta\s+http-equiv="Content-Security-Policy"[^>]*>/;
  return {
    name: "open-in-development",
    apply: "serve",
    transformIndexHtml: (html) => html.replace(policy, ""),
  };
}

function filesIn(folder: string): string[] {
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesIn(path) : [path]));
}

/** src/globals.d.ts. */
export const define = {
  LITERT_VERSION: JSON.stringify(LITERT_VERSION),
  RUNTIME_FOLDER: JSON.stringify(RUNTIME_FOLDER),
  RUNTIME_BYTES: JSON.stringify(
    Object.fromEntries(RUNTIME_FILES.map((name) => [name, statSync(join(LITERT, "wasm", name)).size])),
  ),
  APP_VERSION: JSON.stringify(process.env.npm_package_version ?? "0"),
};

export default defineConfig({
  base: "./",
  define,
  plugins: [runtimeFiles(), inlineScript(), offlineShell(), compressed(), previewCompressed(), openInDevelopment()],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { main: "index.html", sw: "src/sw.ts" },
      output: {
        entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
      },
    },
  },
  worker: { format: "iife" },
  server: { headers: ISOLATION },
  preview: { headers: ISOLATION },
});
