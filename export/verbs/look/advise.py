"""`mobilemod advise` says which file of a bundle to ship where."""

from __future__ import annotations

import argparse

from export.verbs.options import EXIT_OK, bundle_option, emit

SUMMARY = "which file to ship where, and why"
EXAMPLE = "mobilemod advise dist/efficientmod_xxs"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.manifest import load_bundle
    from mobilemod.results.advice import advice_text, advise

    record = advise(load_bundle(args.bundle))
    emit(args, record, advice_text(record))
    return EXIT_OK
