"""What the benchmarks have in common as commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from mobilemod.errors import UserError, unknown


def command(
    run: Callable[[argparse.Namespace], None], parse: Callable[[], argparse.Namespace]
) -> int:
    """Run what was asked for: exit code 0, or 2 for bad input and full disks, said in one line."""
    try:
        run(parse())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def timing_options(parser: argparse.ArgumentParser, patience: float, images: int) -> None:
    """Which images, how many, and how long to time on them; with their defaults."""
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"),
                        help="images, with train/ and val/ (MOBILEMOD_DATA)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=30, help="rounds that count")
    parser.add_argument("--patience", type=float, default=patience,
                        help="minutes in which disturbed rounds are taken again")  # fmt: skip
    parser.add_argument("--images", type=int, default=images, help="images to compare logits on")


def check_timing(args: argparse.Namespace, counts: Collection[str]) -> None:
    """`UserError` without images, or where one of the options `counts` is below 1."""
    if args.data is None:
        raise UserError("no images: give --data DIR, or set MOBILEMOD_DATA")
    args.data = Path(args.data)
    for option in counts:
        if getattr(args, option) < 1:
            raise UserError(f"--{option} must be 1 or more")


def names(value: str) -> list[str]:
    """Of "a,b,c"."""
    return [name for name in value.split(",") if name]


def check_networks(networks: list[str], known: Collection[str]) -> None:
    """`UserError` for a name that isn't known."""
    for name in networks:
        if name not in known:
            raise unknown("network", name, known)
