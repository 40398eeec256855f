"""`mobilemod data` fetches Imagenette."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit

SUMMARY = "fetch Imagenette, the ten-class set that is measured on"
EXAMPLE = "mobilemod data --out data/imagenette"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("--out", type=Path, default=Path("data/imagenette"),
                   help="folder to fill; data/imagenette")  # fmt: skip
    p.add_argument("--size", choices=("160", "320", "full"), default="320",
                   help="the images' short side in pixels; 320")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.data.fetch import fetch_imagenette
    from mobilemod.data.imagefolder import read_folder

    root = fetch_imagenette(args.out, args.size)
    counts = {s: len(read_folder(root / s).samples) for s in ("train", "val")}
    record = {"schema": "mobilemod/data/1", "folder": str(root), "images": counts}
    emit(args, record, f"{root}: {counts['train']} training and {counts['val']} validation images")
    return EXIT_OK
