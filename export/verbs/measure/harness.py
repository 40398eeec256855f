"""`mobilemod harness` measures in any browser that opens its address, and takes in what the sample
apps measured by themselves."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.verbs.options import (
    bundle_option,
    data_option,
    device_config,
    device_gates,
    device_images,
    device_options,
    emit_devices,
    limit_option,
    refuse,
)
from mobilemod import ranges
from mobilemod.errors import UserError

SUMMARY = "measure on any phone's browser, nothing installed; read what an app measured"
EXAMPLE = "mobilemod harness serve dist/efficientmod_xxs --data DIR --limit 200"
HOST, PORT = "0.0.0.0", 8765


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("action", choices=("serve", "read"),
                   help="serve: show an address and a QR code to open; read: make the record of an "
                   "app's accuracy screen")  # fmt: skip
    bundle_option(p)
    p.add_argument("files", nargs="*", type=Path, metavar="JOB LINES",
                   help="what the app saved, its job.json and its lines (read)")  # fmt: skip
    data_option(p)
    limit_option(p)
    p.add_argument("--host", help=f"address to listen on; {HOST}, every one")
    p.add_argument("--port", type=ranges.PORT, help=f"port to listen on; {PORT}")
    device_options(p, "")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    return _read(args) if args.action == "read" else _serve(args)


def _serve(args: argparse.Namespace) -> int:
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.browsers import ServeConfig, serve_browsers
    from mobilemod.results.device.table import text_table
    from mobilemod.results.report.page import report_path

    if args.files:
        raise UserError(f"{args.files[0]}: files go with 'harness read'")
    config = ServeConfig(
        devices=device_config(args, ("browser",)),
        host=HOST if args.host is None else args.host,
        port=PORT if args.port is None else args.port,
        tell=lambda record: print(text_table(record), file=sys.stderr, flush=True),
    )
    records = serve_browsers(config, BundleHost)
    lines = [f"{len(records)} browsers measured"]
    if records:
        lines.append(f"report: {report_path(args.bundle)}")
    return emit_devices(args, records, "\n".join(lines))


def _read(args: argparse.Namespace) -> int:
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.app_job import AppJobConfig, read_app_job
    from mobilemod.results.device.table import text_table

    args.quick = args.quick or None
    refuse(
        args,
        ("limit", "host", "port", "threads", "sustained", "quick"),
        "is of measuring; the app has measured already",
    )
    if len(args.files) != 2:
        raise UserError("harness read: give the app's two files, its job.json and its lines")
    images, _ = device_images(args)
    config = AppJobConfig(args.bundle, *args.files, images, device_gates(args))
    record, report, here = read_app_job(config, BundleHost)
    said = f"{here} of {record['counts']['sent']} images are in --data: this machine answered those"
    lines = [text_table(record), "", *([said] if images is not None else []), f"report: {report}"]
    return emit_devices(args, [record], "\n".join(lines))
