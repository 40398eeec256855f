"""`mobilemod report` prints a bundle's results, and writes its page anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit

SUMMARY = "a bundle's results as a table, and its page anew"
EXAMPLE = "mobilemod report dist/efficientmod_xxs"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("bundle", type=Path, help="folder that validate measured")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.validation import load_record
    from mobilemod.results.report.page import write_report
    from mobilemod.results.table import text_table

    record = load_record(args.bundle)
    emit(args, record, f"{text_table(record)}\nreport: {write_report(args.bundle)}")
    return EXIT_OK
