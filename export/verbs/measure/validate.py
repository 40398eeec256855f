"""`mobilemod validate` measures accuracy drop and agreement, here or on devices."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.api.validating import validate
from export.verbs.options import (
    DEVICES,
    bundle_option,
    code_of,
    data_option,
    device_config,
    device_options,
    emit,
    emit_devices,
    given,
    limit_option,
    listed,
    refuse,
)
from mobilemod.errors import UserError
from mobilemod.targets import RUNTIMES

SUMMARY = "accuracy drop and agreement of a bundle's files"
EXAMPLE = "mobilemod validate dist/efficientmod_xxs --data DIR"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    p.add_argument("--files", metavar="NAME,…", help="only these model files (--device)")
    data_option(p)
    limit_option(p)
    p.add_argument("--device", metavar="KIND[:ID][,…]",
                   help=f"on devices: {DEVICES}")  # fmt: skip
    p.add_argument("--gpu", action="store_true",
                   help="also run the files that a GPU of this machine takes there, on 20 images: "
                   "ops outside, agreement with the processor")  # fmt: skip
    p.add_argument("--runtime", choices=RUNTIMES, metavar="NAME",
                   help="also run the files that it takes in another runtime of this machine: "
                   f"{', '.join(RUNTIMES)}")  # fmt: skip
    p.add_argument("--markdown", metavar="FILE",
                   help="also write a pull request's summary, - for standard output")  # fmt: skip
    device_options(p, " (--device)")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    if args.device is not None:
        if args.gpu:
            raise UserError("--gpu is of this machine; it doesn't go with --device")
        refuse(args, ("runtime",), "is of this machine; it doesn't go with --device")
        return _run_validate_devices(args)
    refuse(args, ("gates", "threads", "sustained", "files"), "goes with --device")
    limits = given(args, ("max_drop", "max_upper", "min_agreement"))
    found = validate(
        args.bundle,
        args.data,
        split=args.split,
        classes=args.classes,
        limit=args.limit,
        gpu=args.gpu,
        runtime=args.runtime,
        audit_only=args.audit_only,
        **limits,
    )
    from export.measure.validation import measured_before
    from mobilemod.results.table import text_table

    record = dict(found.record)
    lines = [text_table(record), *(v.line for v in found.gates), f"report: {found.report}"]
    if not found.measured:
        lines.append("accuracy was not measured: no images were given (--data DIR)")
        if measured_before(args.bundle):
            lines.append("the report is still that of the last measurement, left as it was")
    _summarize(args)
    emit(args, record, "\n".join(lines))
    return code_of(found.state)


def _summarize(args: argparse.Namespace) -> None:
    if args.markdown is None:
        return
    from mobilemod.files import write_text
    from mobilemod.manifest import load_bundle
    from mobilemod.results.markdown.summary import summary

    text = summary(load_bundle(args.bundle, verify=False))
    if args.markdown == "-":
        print(text)
    else:
        write_text(Path(args.markdown), text)


def _run_validate_devices(args: argparse.Namespace) -> int:
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.validate import validate_devices
    from mobilemod.results.device.table import text_table

    config = device_config(args, listed(args.device))
    records, report = validate_devices(config, BundleHost)
    lines = [text for record in records for text in (text_table(record), "")]
    if config.images is None:
        lines.append("accuracy was not measured: no images were given (--data DIR)")
    _summarize(args)
    return emit_devices(args, records, "\n".join([*lines, f"report: {report}"]))
