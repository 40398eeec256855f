"""`mobilemod search` finds what to leave float."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import bundle_option, code_of, data_option, emit, required_data
from mobilemod import ranges

SUMMARY = "which modules to leave float, for the least time"
EXAMPLE = "mobilemod search dist/efficientmod_xxs --data DIR --max-drop 0.3"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    data_option(p)
    p.add_argument("--max-drop", type=ranges.POINTS, default=0.5, metavar="POINTS",
                   help="of the metric that may be lost; 0.5")  # fmt: skip
    p.add_argument("--target", help="runtime that it is for; tflite, else executorch, else coreml")
    p.add_argument("--cost", choices=("ms", "macs"),
                   help="ms, measured here, or macs (all there is for coreml); ms")  # fmt: skip
    p.add_argument("--profile", metavar="INT8.json,FLOAT.json",
                   help="times from 'mobilemod profile --json', instead of measuring")  # fmt: skip
    p.add_argument(
        "--images", type=ranges.IMAGES, default=256, help="training images that guide; 256"
    )
    p.add_argument("--limit", type=ranges.IMAGES, help="at most so many validation images; all")
    p.add_argument("--out", type=Path, help="folder of recipe, page and record (BUNDLE/search)")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.search import SearchConfig, search_bundle
    from mobilemod.results.search.table import text_table

    config = SearchConfig(
        bundle=args.bundle,
        data=required_data(args),
        max_drop=args.max_drop,
        target=args.target,
        cost=args.cost,
        profiles=tuple(Path(p) for p in args.profile.split(",")) if args.profile else (),
        images=args.images,
        limit=args.limit,
        out=args.out,
    )
    record, page = search_bundle(config)
    lines = [text_table(record), f"page: {page}"]
    if record["met"]:
        lines.append(f"recipe: {(args.out or args.bundle / 'search') / record['file']}")
    emit(args, record, "\n".join(lines))
    return code_of(record["state"])
