"""Other programs, run to their end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mobilemod.errors import UserError


def run_tool(command: Sequence[str], cwd: Path | None = None, **environment: str) -> str:
    """Standard output of a command that runs with `environment` added to this process's own.

    cwd: where it runs.

    Raises `UserError` where it is missing, or fails: with one line of what it said.
    """
    try:
        done = subprocess.run(
            list(command),
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise UserError(
            f"'{command[0]}' is missing; this needs Debian or Ubuntu (the emulated ARM64: with gcc)"
        ) from None
    if done.returncode:
        raise UserError(f"{Path(command[0]).name} failed: {reason(done.stderr or done.stdout)}")
    return done.stdout


def reason(text: str) -> str:
    """The line that says why a program failed: apt's first error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E: ")]
    return [*errors, *reversed(lines), "it said nothing"][0]
