"""Fuzzing of `inspect`'s readers, as a process: `python -m tests.fuzz.models SUFFIX COUNT SEED`.

Prints one line of JSON: outcomes, what was neither a result nor a `UserError`, the slowest file in
seconds, the growth of the process's peak memory in MB. The file that is being read lies in the
folder given by --keep, so that it can be read again after a crash.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from export.auditing.audit import audit_file
from export.auditing.text import format_audit
from mobilemod.errors import UserError
from tests.fuzz.mutate import mutate, mutate_package

MODELS = Path(__file__).resolve().parents[1] / "data" / "models"
HANG_SECONDS = 10


class Hang(Exception):
    """Reading took longer than a user waits."""


def _hang(*_: object) -> None:
    raise Hang(f"over {HANG_SECONDS} s")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(path: Path) -> str:
    """What `mobilemod inspect` makes of a file: "read", or the first words of its refusal."""
    try:
        audit = audit_file(path)
    except UserError as error:
        told = str(error)
        assert "\n" not in told and str(path.name) in told, told
        return next((w for w in ("not supported", "damaged") if w in told), "refused")
    json.dumps(audit.to_dict())
    assert all(c.isprintable() for c in format_audit(audit).replace("\n", ""))
    return "read"


def fuzz(suffix: str, count: int, seed: int, folder: Path) -> dict:
    """Read `count` mutants of the files of one kind; the record that is printed."""
    sources = sorted(MODELS.glob(f"*{suffix}"))
    for source in sources:
        assert read(source) == "read", source
    start, whole = _peak_mb(), [p.read_bytes() for p in sources if p.is_file()]
    whole = whole or [p.read_bytes() for p in MODELS.rglob("*.mlmodel")]
    outcomes: Counter[str] = Counter()
    failures, slowest = [], 0.0
    signal.signal(signal.SIGALRM, _hang)
    began = time.monotonic()
    for i in range(count):
        rng = random.Random(f"{seed}/{suffix}/{i}")
        source, path = rng.choice(sources), folder / f"mutant{suffix}"
        if source.is_dir():
            mutate_package(source, path, rng, whole)
        else:
            path.write_bytes(mutate(source.read_bytes(), rng, whole))
        before = time.monotonic()
        signal.alarm(HANG_SECONDS)
        try:
            outcomes[read(path)] += 1
        except Exception as error:
            outcomes["failed"] += 1
            failures.append(f"{i}: {type(error).__name__}: {str(error)[:200]}")
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.monotonic() - before)
    return {
        "suffix": suffix,
        "outcomes": dict(outcomes),
        "failures": failures[:20],
        "slowest_s": round(slowest, 2),
        "seconds": round(time.monotonic() - began, 1),
        "more_mb": round(_peak_mb() - start, 1),
        "children_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suffix", choices=(".pte", ".tflite", ".mlpackage"))
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--keep", type=Path, help="folder of the file that is being read")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp())
    try:
        print(json.dumps(fuzz(args.suffix, args.count, args.seed, folder)))
    finally:
        if args.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
