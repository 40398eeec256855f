"""`mobilemod sensitivity` ranks what costs accuracy in int8."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import (
    EXIT_OK,
    bundle_option,
    data_option,
    emit,
    model_explorer_option,
    required_data,
)
from mobilemod import ranges

SUMMARY = "which layer costs accuracy in int8"
EXAMPLE = "mobilemod sensitivity dist/efficientmod_xxs --data DIR"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    data_option(p)
    p.add_argument("--form", choices=("xnnpack", "coreml"), help="the first that the bundle holds")
    p.add_argument("--recipe", help="cpu, cpu-x86, npu, or a JSON file; the bundle's")
    p.add_argument("--by", default="module", choices=("module", "tensor"), help="module")
    p.add_argument("--images", type=ranges.IMAGES, default=64, metavar="N",
                   help="how many, spread over the classes; 64")  # fmt: skip
    p.add_argument("--out", type=Path, help="folder of page and record (BUNDLE/sensitivity)")
    model_explorer_option(p, "SQNR alone in int8; beside it its cost, and int8 or float and why")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.sensitivity import SensitivityConfig, measure_bundle
    from mobilemod.results.sensitivity.table import text_table

    config = SensitivityConfig(
        bundle=args.bundle,
        data=required_data(args),
        form=args.form,
        recipe=args.recipe,
        by=args.by,
        images=args.images,
        out=args.out,
        model_explorer=args.model_explorer,
    )
    record, page = measure_bundle(config)
    emit(args, record, f"{text_table(record)}\npage: {page}")
    return EXIT_OK
