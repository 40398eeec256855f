/** Writes src/core/simd/passes.ts from passes.wat (npm run wat), or gives its text (the unit test). */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import wabt from "wabt";

const FOLDER = join(import.meta.dirname, "../src/core/simd");

/** The module's text, with the binary in base64. */
export async function assembled() {
  const { parseWat } = await wabt();
  const source = readFileSync(join(FOLDER, "passes.wat"), "utf8");
  const { buffer } = parseWat("passes.wat", source, { simd: true }).toBinary({});
  const lines = Buffer.from(buffer).toString("base64").match(/.{1,100}/g);
  const text = lines.map((line) => `  "${line}"`).join(" +\n");
  return `/** passes.wat, assembled by \`npm run wat\`. */\nexport const PASSES =\n${text};\n`;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(FOLDER, "passes.ts"), await assembled());
}
