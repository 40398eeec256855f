"""`mobilemod report` prints a bundle's results or their history, and writes its page anew."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit
from mobilemod.errors import UserError

SUMMARY = "a bundle's results as a table, and its page anew"
EXAMPLE = "mobilemod report dist/efficientmod_xxs"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("bundle", type=Path, help="folder that validate measured")
    p.add_argument("--history", action="store_true",
                   help="instead all its validations, and a plot of the drops")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.results.report.page import write_report

    if args.history:
        return _run_history(args)
    from export.measure.validation import load_record
    from mobilemod.results.table import text_table

    record = load_record(args.bundle)
    emit(args, record, f"{text_table(record)}\nreport: {write_report(args.bundle)}")
    return EXIT_OK


def _run_history(args: argparse.Namespace) -> int:
    from mobilemod.manifest import load_bundle
    from mobilemod.results.validation.history import PLOT, SCHEMA, history_text, read_history
    from mobilemod.results.validation.history_plot import draw_history

    load_bundle(args.bundle, verify=False)
    lines = read_history(args.bundle)
    if not lines:
        raise UserError(
            f"{args.bundle} has no history; run 'mobilemod validate {args.bundle} --data DIR'"
        )
    plot = args.bundle / PLOT
    draw_history(plot, lines)
    record = {"schema": SCHEMA, "bundle": str(args.bundle), "validations": lines, "plot": str(plot)}
    emit(args, record, f"{history_text(lines)}\nplot: {plot}")
    return EXIT_OK
