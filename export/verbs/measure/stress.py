"""`mobilemod stress` measures the drop on corrupted images."""

from __future__ import annotations

import argparse

from export.verbs.options import bundle_option, data_option, emit, gates_code, listed, required_data
from mobilemod import ranges

SUMMARY = "accuracy drop of int8 on corrupted images"
EXAMPLE = "mobilemod stress dist/efficientmod_xxs --data DIR --images 500"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    data_option(p)
    p.add_argument("--images", type=ranges.IMAGES, default=500, metavar="N",
                   help="how many, spread over the classes; 500")  # fmt: skip
    p.add_argument("--targets", help="runtimes, by commas; all that the bundle holds")
    p.add_argument("--max-mean-drop", type=ranges.POINTS, default=0.7, metavar="POINTS",
                   help="of the metric that an int8 file may lose in the mean; 0.7")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.stress import STRESS_FILE, StressConfig, stress_bundle
    from mobilemod.results.report.page import report_path
    from mobilemod.results.stress.table import text_table

    config = StressConfig(
        bundle=args.bundle,
        data=required_data(args),
        images=args.images,
        targets=None if args.targets is None else listed(args.targets),
        max_mean_drop=args.max_mean_drop,
    )
    record, verdicts = stress_bundle(config)
    lines = [text_table(record), "", *(v.line for v in verdicts)]
    lines += [f"record: {args.bundle / STRESS_FILE}", f"report: {report_path(args.bundle)}"]
    emit(args, record, "\n".join(lines))
    return gates_code(v.to_dict() for v in verdicts)
