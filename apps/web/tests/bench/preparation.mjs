/**
 * Times the app's preparation of a decoded photograph, and tells what it gives.
 *
 *   node apps/web/tests/bench/preparation.mjs FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json
 *
 * from any folder, once `npm ci` has run in apps/web. FILE.rgb: uint8 RGB, row by row, no header;
 * MANIFEST.json: a bundle's, whose `preprocess` is used. Prints one JSON object: `milliseconds`, of
 * each repeat, from decoded pixels to the network's uint8 ones, and `sha256` of these (rows of RGB).
 * Whoever is wrong about the arguments gets a line and exit code 2.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "vite";

const root = join(import.meta.dirname, "../..");

function refuse(why) {
  console.error(`preparation.mjs: ${why}`);
  process.exit(2);
}

/** The app's own core, bundled as the app has it. */
async function core() {
  const { output } = await build({
    configFile: false,
    root,
    logLevel: "error",
    build: {
      write: false,
      target: "es2022",
      lib: { entry: join(import.meta.dirname, "core.ts"), formats: ["es"] },
    },
  }).then((found) => (Array.isArray(found) ? found[0] : found));
  return import(`data:text/javascript;base64,${Buffer.from(output[0].code).toString("base64")}`);
}

const [path, ...rest] = process.argv.slice(2);
if (rest.length !== 4) refuse("give FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json");
const [width, height, repeats] = rest.slice(0, 3).map(Number);
for (const [name, value] of Object.entries({ WIDTH: width, HEIGHT: height, REPEATS: repeats })) {
  if (!Number.isInteger(value) || value < 1) refuse(`${name} is not a whole number from 1 on`);
}
const { parseManifest, preprocessPixels, sha256 } = await core();
let data, spec;
try {
  data = new Uint8Array(readFileSync(path));
  spec = parseManifest(readFileSync(rest[3], "utf8")).preprocess;
} catch (error) {
  refuse(error.message);
}
if (data.length !== width * height * 3) {
  refuse(`${path} has ${data.length} bytes; ${width} x ${height} pixels of RGB are ${width * height * 3}`);
}
const milliseconds = [];
let prepared;
for (let i = 0; i < repeats; i++) {
  const start = performance.now();
  prepared = preprocessPixels({ width, height, channels: 3, data }, spec);
  milliseconds.push(performance.now() - start);
}
console.log(JSON.stringify({ milliseconds, sha256: sha256(prepared.data) }));
