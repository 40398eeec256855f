"""`mobilemod apps` puts a bundle into the sample apps."""

from __future__ import annotations

import argparse

from export.verbs.options import EXIT_OK, bundle_option, emit, listed

SUMMARY = "put a bundle into the sample apps"
EXAMPLE = "mobilemod apps dist/efficientmod_xxs --apps web,android,ios"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    p.add_argument("--apps", default="web,android,ios", help="by commas; web,android,ios")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from mobilemod.apps import put_in_apps

    record = put_in_apps(args.bundle, listed(args.apps))
    lines = [f"{e['app']}: {e['folder']}, {len(e['files'])} model files" for e in record["apps"]]
    emit(args, record, "\n".join(lines))
    return EXIT_OK
