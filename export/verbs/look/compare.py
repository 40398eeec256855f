"""`mobilemod compare` sets two bundles or two records side by side."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from export.api.comparing import are_records, compare
from export.verbs.options import EXIT_OK, data_option, emit, limit_option, refuse

SUMMARY = "two bundles or records side by side: files, accuracy, time, tables"
EXAMPLE = "mobilemod compare dist/before dist/after --data DIR --limit 500"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("a", type=Path, help="a bundle's folder, or a record's file")
    p.add_argument("b", type=Path, help="the one that is compared with it")
    data_option(p)
    limit_option(p)
    p.add_argument(
        "--time", action="store_true", default=None, help="also time the files, in turns"
    )


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.comparing.text import comparison_text

    if are_records(args.a, args.b):
        # What the environment names is for verbs that run something.
        named = os.environ.get("MOBILEMOD_DATA")
        if named and args.data == Path(named):
            args.data = None
        names = ("data", "split", "classes", "limit", "time")
        refuse(args, names, "goes with bundles; records hold what was measured")
    record = compare(
        args.a,
        args.b,
        args.data,
        split=args.split,
        classes=args.classes,
        limit=args.limit,
        timed=bool(args.time),
    )
    emit(args, record, comparison_text(record))
    return EXIT_OK
