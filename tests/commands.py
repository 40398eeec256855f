"""The command line as a user runs it, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "export.verbs"]
# What long work tells every half minute.
PROGRESS = re.compile(r": (\d+ of \d+ .*, )?(\d+ min )?\d+ s( so far|, about .* left)?$")


def said(process: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on stderr that aren't progress."""
    return [line for line in process.stderr.strip().splitlines() if not PROGRESS.search(line)]
