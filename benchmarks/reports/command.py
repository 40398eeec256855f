"""What the benchmarks have in common as commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mobilemod.errors import UserError


def command(
    run: Callable[[argparse.Namespace], None], parse: Callable[[], argparse.Namespace]
) -> int:
    """Run what was asked for: exit code 0, or 2 for bad input, said in one line."""
    try:
        run(parse())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
