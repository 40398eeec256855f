"""`mobilemod report` prints a bundle's results."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit

SUMMARY = "print a bundle's results as a table"
EXAMPLE = "mobilemod report dist/efficientmod_xxs"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("bundle", type=Path, help="folder that validate measured")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.validation import load_record
    from mobilemod.results.table import text_table

    record = load_record(args.bundle)
    emit(args, record, text_table(record))
    return EXIT_OK
