"""`mobilemod gpu` sets up a software GPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit

SUMMARY = "set up SwiftShader, a software GPU, in a folder"
EXAMPLE = "mobilemod gpu --out .gpu"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("--out", type=Path, help="folder to fill (MOBILEMOD_GPU, else .gpu)")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.harness.gpu.install import set_up
    from mobilemod.harness.gpu.places import default_folder

    folder = args.out or default_folder()
    stamp = set_up(folder)
    emit(args, {**stamp, "folder": str(folder)}, f"{folder}: SwiftShader of {stamp['package']}")
    return EXIT_OK
