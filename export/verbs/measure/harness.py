"""`mobilemod harness` measures in any browser that opens its address."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.verbs.options import data_option, device_config, device_options, emit, gates_code
from mobilemod import ranges

SUMMARY = "measure on any phone's browser, nothing installed"
EXAMPLE = "mobilemod harness serve dist/efficientmod_xxs --data DIR --limit 200"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("action", choices=("serve",), help="show an address and a QR code to open")
    p.add_argument("bundle", type=Path, help="folder that export wrote")
    data_option(p)
    p.add_argument("--limit", type=ranges.IMAGES, metavar="N",
                   help="at most so many images, spread over the classes; all")  # fmt: skip
    p.add_argument("--host", default="0.0.0.0", help="address to listen on; 0.0.0.0, every one")
    p.add_argument("--port", type=ranges.PORT, default=8765, help="port to listen on; 8765")
    device_options(p, "")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.measure.device_host import BundleHost
    from mobilemod.harness.run.browsers import ServeConfig, serve_browsers
    from mobilemod.results.device.table import text_table

    config = ServeConfig(
        devices=device_config(args, ("browser",)),
        host=args.host,
        port=args.port,
        tell=lambda record: print(text_table(record), file=sys.stderr, flush=True),
    )
    records = serve_browsers(config, BundleHost)
    lines = [f"{len(records)} browsers measured"]
    if records:
        lines.append(f"report: {args.bundle / 'devices' / 'report.html'}")
    emit(args, {"schema": "mobilemod/harness-records/1", "records": records}, "\n".join(lines))
    return gates_code(v for record in records for v in record["verdicts"])
