"""The command line as a user runs it, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "export.verbs"]
# What long work tells every half minute.
PROGRESS = re.compile(r": (\d+ of \d+ .*, )?(\d+ min )?\d+ s( so far|, about .* left)?$")


def said(process: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on stderr that aren't progress."""
    return [line for line in process.stderr.strip().splitlines() if not PROGRESS.search(line)]


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment of a run: its own cache unless one is given, and no data by default."""
    cache = os.environ.get("MOBILEMOD_CACHE") or str(tmp_path_factory.mktemp("cache"))
    drop = {"MOBILEMOD_DATA"}
    return {k: v for k, v in os.environ.items() if k not in drop} | {"MOBILEMOD_CACHE": cache}


@pytest.fixture(scope="session")
def run(environment):
    """`run("export", …)`: the finished process, output as text."""

    def call(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=ROOT,
            env={**environment, **more},
            capture_output=True,
            text=True,
        )

    return call
