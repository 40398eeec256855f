"""How long core's preprocessing takes on the JVM, and what it gives.

`python3 apps/android/check/preparation.py FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json`: FILE.rgb
holds uint8 R, G, B of each pixel, row by row. Prints `{"milliseconds": [each repeat], "sha256": of
the prepared uint8 pixels (height, width, 3)}`. Compiles core with what `apps/android/test.sh` has
put into `.tools`, where its sources have changed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

ANDROID = Path(__file__).parents[1]
LIB = ANDROID / ".tools/node_modules/kotlin-compiler/lib"
COMPILER = (
    "kotlin-compiler", "kotlin-stdlib", "kotlin-reflect", "kotlin-script-runtime",
    "kotlinx-coroutines-core-jvm", "annotations-13.0",
)  # fmt: skip
MAIN = ANDROID / "core/src/test/kotlin/io/mobilemod/core/Preparation.kt"
CORE = ANDROID / "core/src/main/kotlin"


def class_path() -> str:
    """Core and the entry, compiled, with Kotlin's standard library."""
    digest = hashlib.sha256()
    for path in [*sorted(CORE.rglob("*.kt")), MAIN]:
        digest.update(path.read_bytes())
    out = ANDROID / "build/preparation" / digest.hexdigest()[:16]
    library = str(LIB / "kotlin-stdlib.jar")
    if not out.is_dir():
        shutil.rmtree(out.parent, ignore_errors=True)
        made = out.with_suffix(".part")
        versions = (ANDROID / "gradle/libs.versions.toml").read_text("utf-8")
        target = re.search(r'^jvm = "(.+)"$', versions, re.M)[1]
        command = ["java", "-Xmx1500m", "-cp", ":".join(f"{LIB / name}.jar" for name in COMPILER)]
        command += ["org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib", "-no-reflect"]
        command += ["-jvm-target", target, "-cp", library, "-d", str(made), str(CORE), str(MAIN)]
        subprocess.run(command, check=True)
        made.rename(out)
    return f"{out}:{library}"


def main(arguments: list[str]) -> int:
    """Exit code 2 where an argument or the compiler lacks."""
    if len(arguments) != 5:
        print("preparation.py FILE.rgb WIDTH HEIGHT REPEATS MANIFEST.json", file=sys.stderr)
        return 2
    if not LIB.is_dir():
        print(f"no Kotlin compiler in {LIB}: run apps/android/test.sh first", file=sys.stderr)
        return 2
    command = ["java", "-cp", class_path(), "io.mobilemod.core.PreparationKt", *arguments]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
