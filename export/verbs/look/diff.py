"""`mobilemod diff` finds where two model files part."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit, model_explorer_option, require_explorer
from mobilemod.targets import EXPLORED, suffixes_in_words

SUMMARY = "where two model files part on an image, and why"
EXAMPLE = "mobilemod diff int8.pte int8.mlpackage --image photo.jpg"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("a", type=Path, help=f"model file: {suffixes_in_words()}")
    p.add_argument("b", type=Path, help="another one of the same network, or the word program")
    p.add_argument("--image", type=Path, action="append", default=[], metavar="FILE",
                   help="image file; may be given several times")  # fmt: skip
    p.add_argument("--bundle", type=Path, help="bundle that the files come from; else beside them")
    p.add_argument("--all", action="store_true", help="print tensors that don't differ too")
    p.add_argument("--exact", action="store_true", help="compare every op with its exact result")
    model_explorer_option(p, "SQNR; beside it what each op adds, and int8 or float and why")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.diff.compare import DiffConfig, diff_files
    from mobilemod.results.diff.text import text

    shown = [path for path in (args.a, args.b) if path.suffix in EXPLORED]
    require_explorer(args, shown[:1])
    explored = (shown[0], args.model_explorer) if args.model_explorer else None
    config = DiffConfig(args.a, args.b, tuple(args.image), args.bundle, args.exact, explored)
    record = diff_files(config)
    emit(args, record, text(record, args.all))
    return EXIT_OK
