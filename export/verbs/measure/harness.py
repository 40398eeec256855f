"""`mobilemod harness` measures in any browser that opens its address."""

from __future__ import annotations

import argparse
import sys

from export.verbs.options import (
    bundle_option,
    data_option,
    device_config,
    device_options,
    emit_devices,
    limit_option,
)
from mobilemod import ranges

SUMMARY = "measure on any phone's browser, nothing installed"
EXAMPLE = "mobilemod harness serve dist/efficientmod_xxs --data DIR --limit 200"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("action", choices=("serve",), help="show an address and a QR code to open")
    bundle_option(p)
    data_option(p)
    limit_option(p)
    p.add_argument("--host", default="0.0.0.0", help="address to listen on; 0.0.0.0, every one")
    p.add_argument("--port", type=ranges.PORT, default=8765, help="port to listen on; 8765")
    device_options(p, "")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.browsers import ServeConfig, serve_browsers
    from mobilemod.results.device.table import text_table
    from mobilemod.results.report.page import report_path

    config = ServeConfig(
        devices=device_config(args, ("browser",)),
        host=args.host,
        port=args.port,
        tell=lambda record: print(text_table(record), file=sys.stderr, flush=True),
    )
    records = serve_browsers(config, BundleHost)
    lines = [f"{len(records)} browsers measured"]
    if records:
        lines.append(f"report: {report_path(args.bundle)}")
    return emit_devices(args, records, "\n".join(lines))
