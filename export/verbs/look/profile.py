"""`mobilemod profile` says where a model file's time goes."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, emit, model_explorer_option, require_explorer
from mobilemod import ranges
from mobilemod.errors import UserError

SUMMARY = "where a .pte's or .tflite's time goes, op by op"
EXAMPLE = "mobilemod profile dist/efficientmod_xxs/efficientmod_xxs_int8.tflite"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("file", type=Path, help="model file")
    p.add_argument("--threads", type=ranges.THREADS, default=1, help="CPU threads; 1")
    p.add_argument("--rounds", type=ranges.RUNS, default=5, help="measurements of each op; 5")
    model_explorer_option(p, "milliseconds")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.profiling import format_profile, keep_profile, profile_file
    from export.targets.isolated import IsolatedError, call_unlimited

    require_explorer(args, [args.file])
    try:
        call = (lambda f, *a: f(*a)) if args.debug else call_unlimited
        profile = call(profile_file, args.file, args.threads, args.rounds)
    except IsolatedError as error:
        raise UserError(f"{args.file}: not supported: its runtime {error}") from None
    if args.model_explorer:
        from export.model_explorer import write_times

        write_times(profile, args.file, args.model_explorer)
    report = keep_profile(args.file, profile)
    lines = [format_profile(profile), *([f"report: {report}"] if report else [])]
    emit(args, profile.to_dict(), "\n".join(lines))
    return EXIT_OK
