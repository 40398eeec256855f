"""`mobilemod validate` measures accuracy drop and agreement, here or on devices."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import (
    DEVICES,
    data_of,
    data_option,
    device_config,
    device_options,
    emit,
    gates_code,
    given,
    refuse,
)
from mobilemod import ranges
from mobilemod.errors import UserError

SUMMARY = "accuracy drop and agreement of a bundle's files"
EXAMPLE = "mobilemod validate dist/efficientmod_xxs --data DIR"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    p.add_argument("--files", metavar="NAME,…", help="only these model files (--device)")
    data_option(p)
    p.add_argument("--limit", type=ranges.IMAGES, metavar="N",
                   help="at most so many images, spread over the classes; all")  # fmt: skip
    p.add_argument("--device", metavar="KIND[:ID][,…]",
                   help=f"on devices: {DEVICES}")  # fmt: skip
    device_options(p, " (--device)")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.validation import measured_before, validate_bundle
    from mobilemod.results.gates import Gates
    from mobilemod.results.table import text_table

    if args.device is not None:
        return _run_validate_devices(args)
    refuse(args, ("gates", "threads", "sustained", "files"), "goes with --device")
    limits = given(args, ("max_drop", "max_upper", "min_agreement"))
    gates = Gates(**limits, sample=args.limit is not None)
    data = None if args.audit_only else data_of(args)
    if data is None and not args.audit_only:
        raise UserError(
            "no images to measure on: give --data DIR (DATA=… with make), or --audit-only"
        )
    record, verdicts = validate_bundle(args.bundle, data, gates, args.limit)
    report = args.bundle / "report" / "report.html"
    lines = [text_table(record), *(v.line for v in verdicts), f"report: {report}"]
    if not record["measured"]:
        lines.append("accuracy was not measured: no images were given (--data DIR)")
        if measured_before(args.bundle):
            lines.append("the report is still that of the last measurement, left as it was")
    emit(args, record, "\n".join(lines))
    return gates_code(v.to_dict() for v in verdicts)


def _run_validate_devices(args: argparse.Namespace) -> int:
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.validate import validate_devices
    from mobilemod.results.device.table import text_table

    config = device_config(args, tuple(d for d in args.device.split(",") if d))
    records, report = validate_devices(config, BundleHost)
    lines = [text for record in records for text in (text_table(record), "")]
    if config.images is None:
        lines.append("accuracy was not measured: no images were given (--data DIR)")
    emit(args, {"schema": "mobilemod/harness-records/1", "records": records},
         "\n".join([*lines, f"report: {report}"]))  # fmt: skip
    return gates_code(v for record in records for v in record["verdicts"])
