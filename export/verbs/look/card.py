"""`mobilemod card` writes a bundle as a folder for a hub of models, with its card."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.api.carding import card
from export.verbs.options import EXIT_OK, bundle_option, emit

SUMMARY = "a bundle as a folder for a hub: model card and files"
EXAMPLE = "mobilemod card dist/efficientmod_xxs --out hub/efficientmod_xxs"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    p.add_argument("--out", type=Path, required=True, help="the folder, which isn't there yet")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    path = card(args.bundle, args.out)
    emit(args, {"schema": "mobilemod/card/1", "card": str(path)}, f"{path}: push its folder")
    return EXIT_OK
