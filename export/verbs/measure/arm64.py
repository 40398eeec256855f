"""`mobilemod arm64` sets up an emulated ARM64 processor."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit

SUMMARY = "set up an emulated ARM64 processor in a folder"
EXAMPLE = "mobilemod arm64 --out .arm64"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("--out", type=Path, help="folder to fill (MOBILEMOD_ARM64, else .arm64)")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.harness.arm64.emulator import default_folder
    from mobilemod.harness.arm64.install import set_up
    from mobilemod.harness.worker.runtimes import RUNTIMES

    folder = args.out or default_folder()
    stamp = set_up(folder)
    packages = tuple(r.package for r in RUNTIMES.values())
    runtimes = [w for w in stamp["wheels"] if w.startswith(packages)]
    text = f"{folder}: emulated {', '.join([*stamp['processors'], *runtimes])}"
    emit(args, {**stamp, "folder": str(folder)}, text)
    return EXIT_OK
