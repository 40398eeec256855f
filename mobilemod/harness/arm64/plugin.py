"""The QEMU plugin that counts instructions, compiled from the C sources beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilemod.files import atomic_path
from mobilemod.harness.arm64.process import run_tool

HERE = Path(__file__).parent
SOURCES = ("icount.c", "classify.c", "classify.h")
COMPILE = ("gcc", "-O2", "-shared", "-fPIC")


def compile_library(out: Path, sources: Sequence[str] = SOURCES) -> None:
    """Compile the `.c` files of `sources` to a shared library; `UserError` without gcc."""
    with atomic_path(out) as path:
        files = [str(HERE / name) for name in sources if name.endswith(".c")]
        run_tool([*COMPILE, "-o", str(path), *files])
