/** What preparation.mjs measures. */
export { parseManifest } from "../../src/core/manifest";
export { preprocessPixels } from "../../src/core/preprocess";
export { sha256 } from "../../src/core/sha256";
