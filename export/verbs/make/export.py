"""`mobilemod export` makes a bundle of a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.api.exporting import export
from export.api.opening import TOLD
from export.verbs.network_options import network_options
from export.verbs.options import DEFAULTS, EXIT_OK, TARGETS, data_option, emit, given
from mobilemod.evaluation.runs import SCORES

SUMMARY = "quantize and lower a checkpoint to a bundle"
EXAMPLE = "mobilemod export --data DIR --out dist/efficientmod_xxs"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    data_option(p, split=False)
    network_options(p)
    p.add_argument("--targets", default=DEFAULTS, metavar="NAME,…",
                   help=f"some of {TARGETS}; {DEFAULTS}")  # fmt: skip
    p.add_argument("--recipe", help="cpu, cpu-x86, npu, or a JSON file; cpu")
    p.add_argument("--prepared", type=Path, metavar="RUN",
                   help="folder of a 'train --qat' run: lower its weights and ranges")  # fmt: skip
    p.add_argument("--author", default="", metavar="TEXT",
                   help="of the weights, for the files' metadata; the checkpoint's")  # fmt: skip
    p.add_argument("--license", default="", metavar="SPDX",
                   help="of the weights, for the files' metadata; the checkpoint's")  # fmt: skip
    p.add_argument("--answer", default=SCORES, metavar="WHAT",
                   help="of a network of maps: scores, for each class at each pixel, or classes, "
                        f"the map itself; {SCORES}")  # fmt: skip
    p.add_argument("--skip-check", action="store_true",
                   help="don't compare the files with the programs they come from")  # fmt: skip
    p.add_argument("--explain", action="store_true",
                   help="tell what was rewritten, and what stayed as it was and why")  # fmt: skip
    p.add_argument("--out", type=Path, default=Path("dist/efficientmod_xxs"),
                   help="the bundle; dist/efficientmod_xxs")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    exported = export(
        args.out,
        network=args.network,
        checkpoint=args.checkpoint,
        data=args.data,
        classes=args.classes,
        targets=args.targets,
        prepared=args.prepared,
        author=args.author,
        license=args.license,
        answer=args.answer,
        check=not args.skip_check,
        **given(args, ("model", "recipe", "size", "fit", *TOLD)),
    )
    record = exported.to_dict()
    lines = [f"bundle {record['bundle']} in {record['seconds']:.0f} s"]
    for f in record["files"]:
        share = f"{f['audit']['int8_share']:.1%} int8 MACs" if f["precision"] == "int8" else ""
        how = "from cache" if f["cached"] else f"{f['seconds']:.0f} s, peak {f['peak_mb']} MB"
        lines.append(f"  {f['file']:<36} {f['bytes'] / 1e6:6.2f} MB  {how:<24} {share}")
    lines.append(record["checkpoint"])
    lines += record["notes"]
    if args.explain:
        from export.auditing.explain import explanation

        audits = {f["file"]: f["audit"] for f in record["files"]}
        lines += explanation(record["form"], record["floats"], audits)
    lines.append(f"calibrated from {record['calibration']}; accuracy not measured yet: "
                 f"mobilemod validate {record['bundle']} --data DIR")  # fmt: skip
    emit(args, record, "\n".join(lines))
    return EXIT_OK
