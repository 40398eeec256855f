"""Damaged and hostile model files: `inspect` gives a result or one line, whatever the bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Mutants of each format; without MOBILEMOD_FUZZ some 950 in all, fewest of the slowest.
COUNTS = {".pte": 450, ".tflite": 450, ".mlpackage": 50}
SEED = int(os.environ.get("MOBILEMOD_FUZZ_SEED", "1"))


@pytest.mark.parametrize("suffix", COUNTS)
def test_mutants_are_read_or_refused(suffix, tmp_path):
    count = int(os.environ.get("MOBILEMOD_FUZZ", COUNTS[suffix]))
    command = [sys.executable, "-m", "tests.fuzz.models", suffix, str(count), str(SEED)]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    # A crash of native code ends the process: the file that did it lies in tmp_path.
    assert done.returncode == 0, f"{tmp_path}: {done.returncode} {done.stderr[-2000:]}"
    record = json.loads(done.stdout.splitlines()[-1])
    print(record)
    assert not record["failures"]
    assert sum(record["outcomes"].values()) == count
    assert record["outcomes"]["read"] > count // 50  # some changes do no harm to the graph
    assert record["slowest_s"] < 10
    assert record["more_mb"] < 300
