"""Builds the Swift package Core and runs its tests, the shared vectors among them."""

from __future__ import annotations

import sys
from platform import machine

from toolchain import REPOSITORY, Toolchain, UserError, find

CORE = REPOSITORY / "apps/ios/Core"
BUILD = REPOSITORY / "apps/ios/.check/build"
TESTS = BUILD / "release/MobilemodCorePackageTests.xctest"
# Vectors as wide as a phone's; the oldest x86, which the compiler would take, has narrower ones.
VECTORS = ("-Xswiftc", "-Xcc", "-Xswiftc", "-march=x86-64-v3") if machine() == "x86_64" else ()
HARNESS_RUN = BUILD / "release/harness-run"


def build(toolchain: Toolchain, *what: str) -> str:
    """The build's complaints, warnings too; "" where there are none. what: the package manager's
    options that say which part.

    Optimized, as on the phone: the vectors' huge images take minutes otherwise.
    """
    done = toolchain.run("swift-build", [
        "--disable-sandbox", "--package-path", str(CORE), "--scratch-path", str(BUILD),
        "--configuration", "release", *what, "-Xswiftc", "-enable-testing",
        "-Xswiftc", "-strict-concurrency=complete", *VECTORS,
    ])  # fmt: skip
    lines = [s for s in done.stdout.splitlines() if "error:" in s or "warning:" in s]
    if done.returncode:
        return "\n".join(lines or done.stdout.splitlines()[-20:])
    return "\n".join(lines)


def main() -> int:
    """Print the build's complaints or the tests' outcome; not 0 where anything failed."""
    try:
        toolchain = find()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    complaints = build(toolchain, "--build-tests")
    if complaints:
        print(complaints)
        return 1
    done = toolchain.run(str(TESTS), [])
    quiet = ("started at", "passed (", "passed at")
    print("\n".join(s for s in done.stdout.splitlines() if not any(q in s for q in quiet)))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
