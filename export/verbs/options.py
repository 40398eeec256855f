"""What several verbs share: options, images, exit codes, output."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mobilemod import ranges, targets
from mobilemod.data.classes import SORTED
from mobilemod.data.dataset import DataSet
from mobilemod.errors import UserError
from mobilemod.harness.drivers import DRIVERS
from mobilemod.networks import registry

EXIT_OK, EXIT_GATE, EXIT_USER, EXIT_INTERNAL, EXIT_UNDECIDED = 0, 1, 2, 3, 4
# What the help lists.
VARIANTS = ", ".join(registry.variants())
TARGETS, DEFAULTS = (",".join(names) for names in (targets.TARGETS, targets.DEFAULTS))
DEVICES = ", ".join(DRIVERS)


def fail(message: str, debug: bool, code: int = EXIT_USER) -> int:
    """Print an error in one line; the exit code. debug: raise it instead."""
    if debug:
        raise
    print(f"mobilemod: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def bundle_option(p: argparse.ArgumentParser) -> None:
    """The bundle that a verb works on."""
    p.add_argument("bundle", type=Path, help="folder that export wrote")


def limit_option(p: argparse.ArgumentParser) -> None:
    """--limit of what is measured."""
    p.add_argument("--limit", type=ranges.IMAGES, metavar="N",
                   help="at most so many images, spread over the classes; all")  # fmt: skip


def listed(text: str) -> tuple[str, ...]:
    """What an option lists by commas."""
    return tuple(part for part in text.split(",") if part)


def device_options(p: argparse.ArgumentParser, where: str) -> None:
    """What is measured on a device, and what it is held to."""
    p.add_argument("--audit-only", action="store_true",
                   help="without images: no accuracy; what was measured before stays")  # fmt: skip
    p.add_argument("--max-drop", type=ranges.POINTS, metavar="POINTS",
                   help="of the metric that an int8 file may lose; 0.5")  # fmt: skip
    p.add_argument("--max-upper", type=ranges.UPPER, metavar="POINTS",
                   help="the upper end of the drop's 95 %% interval, above 0; 1")  # fmt: skip
    p.add_argument("--min-agreement", type=ranges.PERCENT, metavar="PERCENT",
                   help="of int8 pairs, or of a device and the host; 99")  # fmt: skip
    p.add_argument("--gates", type=Path, help=f"limits as TOML{where}")
    p.add_argument("--threads", type=ranges.THREADS.list, metavar="N,…",
                   help=f"CPU threads to measure with, by commas{where}; 1")  # fmt: skip
    p.add_argument("--sustained", type=ranges.SECONDS, metavar="SECONDS",
                   help=f"also run each file so long without pause{where}")  # fmt: skip
    p.add_argument("--quick", action="store_true",
                   help=f"few timed runs, to see that it works{where}")  # fmt: skip


def data_option(parser: argparse.ArgumentParser, split: bool = True) -> None:
    """--data and what says how its folders are to be read."""
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MOBILEMOD_DATA") or None,
        help="folder with train/ and val/, one folder per class (or MOBILEMOD_DATA)",
    )
    parser.add_argument("--classes", metavar="FILE",
                        help="which class each folder is, where its name doesn't say it: JSON or "
                        f"lines of folder,class; or '{SORTED}'")  # fmt: skip
    if split:
        parser.add_argument("--split", metavar="NAME", help="folder of --data to measure; val")


def data_of(args: argparse.Namespace) -> DataSet | None:
    """The images of --data, None where it isn't given."""
    return DataSet.given(args.data, getattr(args, "split", None), getattr(args, "classes", None))


def required_data(args: argparse.Namespace) -> DataSet:
    """`data_of`; `UserError` where no images are given."""
    data = data_of(args)
    if data is None:
        raise UserError("no images: give --data DIR (DATA=… with make), or run 'make data'")
    return data


def given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    return {k: getattr(args, k) for k in names if getattr(args, k) is not None}


def refuse(args: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """`UserError` for those of these options that were given."""
    for name in given(args, names):
        raise UserError(f"--{name.replace('_', '-')} {why}")


def emit(args: argparse.Namespace, record: dict[str, Any], text: str) -> None:
    """Write the record where --json says, and the text to stdout unless the JSON goes there."""
    from mobilemod.files import write_json

    if args.json == "-":
        json.dump(record, sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    if args.json:
        write_json(Path(args.json), record)
    print(text)


def model_explorer_option(p: argparse.ArgumentParser, what: str) -> None:
    """`--model-explorer`; what: of each op, by commas where each is a file."""
    p.add_argument("--model-explorer", metavar="FILE", type=Path,
                   help=f"also write node data for Google's Model Explorer: {what}")  # fmt: skip


def require_explorer(args: argparse.Namespace, files: Sequence[Path]) -> None:
    """`UserError` where `--model-explorer` can't be for the files."""
    known = targets.EXPLORED
    if args.model_explorer and (len(files) != 1 or files[0].suffix not in known):
        raise UserError(f"--model-explorer is for one file, {' or '.join(known)}")


def emit_devices(args: argparse.Namespace, records: list[dict[str, Any]], text: str) -> int:
    """`emit` of devices' records; the exit code of all their verdicts."""
    emit(args, {"schema": "mobilemod/harness-records/1", "records": records}, text)
    return gates_code(v for record in records for v in record["verdicts"])


def gates_code(verdicts: Iterable[dict[str, Any]]) -> int:
    """The exit code of these verdicts."""
    from mobilemod.results.verdict import overall

    return code_of(overall(list(verdicts)))


def code_of(state: str) -> int:
    """The exit code of a verdict, the same for every verb that has gates."""
    return {"pass": EXIT_OK, "fail": EXIT_GATE, "undecided": EXIT_UNDECIDED}[state]


def device_gates(args: argparse.Namespace) -> Any:
    """The `DeviceGates` of `device_options`."""
    from dataclasses import replace

    from mobilemod.harness.record.gates import DeviceGates

    gates = DeviceGates.read(args.gates) if args.gates else DeviceGates()
    return replace(gates, **given(args, ("max_drop", "max_upper", "min_agreement")))


def device_images(args: argparse.Namespace) -> tuple[Any, dict[str, Any] | None]:
    """The `ImageFolder` that a device is measured on and what records say of it; None, None where
    no images are given, or wanted."""
    from export.bundle_parts import OpenedBundle
    from export.measure.validation import read_validation_images
    from mobilemod.manifest import load_bundle

    data = None if args.audit_only else data_of(args)
    if data is None:
        return None, None
    bundle = load_bundle(args.bundle, verify=False)
    images = read_validation_images(bundle, data, args.limit)
    return images, images.about(OpenedBundle(bundle).calibrated_on)


def device_config(args: argparse.Namespace, devices: tuple[str, ...]) -> Any:
    """The `DeviceConfig` of options that `validate --device` and `harness serve` share."""
    from dataclasses import replace

    from mobilemod.harness.run.job_build import Plan
    from mobilemod.harness.run.validate import QUICK, DeviceConfig

    gates, plan = device_gates(args), Plan(threads=args.threads or (1,))
    if args.quick:
        plan = replace(plan, latency=QUICK)
    if getattr(args, "files", None):
        plan = replace(plan, files=tuple(args.files.split(",")))
    plan = replace(plan, sustained_seconds=args.sustained or 0)
    images, about = device_images(args)
    if images is None and not args.audit_only:
        raise UserError(
            "no images: give --data DIR (DATA=… with make), or --audit-only to measure latency and "
            "run the self-test alone"
        )
    sample = args.limit is not None
    return DeviceConfig(args.bundle, devices, images, sample, plan, gates, about)
