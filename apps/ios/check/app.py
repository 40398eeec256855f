"""Type-checks the app with a real Swift compiler, against declarations of Apple's frameworks.

stubs/README.md says what that proves and what not. The declarations are compiled into
`.check/modules`, then the app is checked, with ExecuTorch's package and Core AI and without both,
then its tests.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import REPOSITORY, Toolchain, UserError, find

IOS = REPOSITORY / "apps/ios"
STUBS = IOS / "check/stubs"
OUT = IOS / ".check/modules"
# Apart, because the app can be built with them and without.
OPTIONAL = IOS / ".check/optional"
OPTIONAL_MODULES = ("ExecuTorch", "CoreAI")
# Each after those that it imports.
MODULES = (
    "CoreGraphics", "ImageIO", "Accelerate", "CoreVideo", "CoreML", "Darwin",
    "AVFoundation", "UIKit", "UniformTypeIdentifiers", "SwiftUI", "PhotosUI", "XCTest",
    *OPTIONAL_MODULES,
)  # fmt: skip
# One compiler process over all files: it tells every fault, not the first file's alone.
OPTIONS = ("-swift-version", "5", "-warnings-as-errors", "-wmo")
NO_PCH = "-disable-bridging-pch"


def sources(folder: Path) -> list[str]:
    """Every Swift file below a folder."""
    return sorted(str(p) for p in folder.rglob("*.swift"))


def check(toolchain: Toolchain, app: Path = IOS / "App") -> list[str]:
    """The compiler's complaints about the app in `app`; none where all is well."""
    for folder in (OUT, OPTIONAL):
        folder.mkdir(parents=True, exist_ok=True)
    core = sources(IOS / "Core/Sources/MobilemodCore")
    found = _emit(toolchain, "MobilemodCore", core)
    for name in MODULES:
        found = found or _emit(toolchain, name, [str(STUBS / f"{name}.swift")])
    header = (NO_PCH, "-import-objc-header", str(app / "Sources/BridgingHeader.h"))
    app_sources = sources(app / "Sources")
    app_sources.append(str(documented()))
    optional = ("-I", str(OPTIONAL))
    for flags in ((), optional):
        found = found or _swiftc(
            toolchain, "-typecheck", *OPTIONS, "-strict-concurrency=targeted", "-parse-as-library",
            "-module-name", "Mobilemod", *header, *flags, *app_sources,
        )  # fmt: skip
    found = found or _swiftc(
        toolchain, "-emit-module", "-enable-testing", "-parse-as-library", "-module-name",
        "Mobilemod", *header, *optional, "-o", str(OUT / "Mobilemod.swiftmodule"), *app_sources,
    )  # fmt: skip
    found = found or _swiftc(toolchain, "-typecheck", *optional, *sources(app / "Tests"))
    return found or _swiftc(toolchain, "-typecheck", *sources(app / "UITests"))


def documented() -> Path:
    """The code in docs/apps-ios.md, as a function of the app."""
    text = (REPOSITORY / "docs/apps-ios.md").read_text("utf-8")
    (code,) = re.findall(r"^```swift\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    path = OUT / "Documented.swift"
    head = "import Foundation\nimport MobilemodCore\n\nfunc documented(jpeg: Data) throws {\n"
    path.write_text(f"{head}{code}}}\n")
    return path


def _emit(toolchain: Toolchain, name: str, files: Sequence[str]) -> list[str]:
    made = (OPTIONAL if name in OPTIONAL_MODULES else OUT) / f"{name}.swiftmodule"
    newest = max(Path(f).stat().st_mtime for f in files)
    if made.is_file() and made.stat().st_mtime > newest:
        return []
    return _swiftc(
        toolchain, "-emit-module", "-parse-as-library", "-enable-testing", "-module-name", name,
        "-o", str(made), *files,
    )  # fmt: skip


def _swiftc(toolchain: Toolchain, *arguments: str) -> list[str]:
    done = toolchain.run("swiftc", ["-I", str(OUT), *arguments])
    if done.returncode == 0:
        return []
    lines = done.stdout.replace(f"{REPOSITORY}/", "").splitlines()
    return [s for s in lines if "error:" in s] or lines[-5:]


def main() -> int:
    """Print what is wrong; 1 where anything is."""
    try:
        found = check(find())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) if found else "the app type-checks")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
