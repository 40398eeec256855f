"""Checks that the functions which ThreadCount.cpp declares of ExecuTorch are in its library.

Their mangled names are one on every system with the Itanium C++ ABI, Apple's and Linux's alike, so
the installed Python package of the same version can answer.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "App/Sources/Engines/ThreadCount.cpp"
OUT = Path(__file__).resolve().parents[1] / ".check/ThreadCount.o"
NAMESPACE = "executorch9extension10threadpool"


def library() -> Path | None:
    """ExecuTorch's library of threads in this Python's packages."""
    spec = importlib.util.find_spec("executorch")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in Path(folder, "lib").glob("libexecutorch_threadpool.so"):
            return path
    return None


def symbols(path: Path, *options: str) -> set[str]:
    """Names in an object file or a library."""
    done = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True)
    return {line.split()[-1] for line in done.stdout.splitlines() if line.split()}


def check(source: Path = SOURCE) -> tuple[list[str], int]:
    """Functions that are called but not there, and how many are called."""
    runtime = library()
    assert runtime is not None
    OUT.parent.mkdir(parents=True, exist_ok=True)
    command = ["g++", "-std=c++20", "-Wall", "-Werror", "-c", str(source), "-o", str(OUT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.splitlines(), 0
    called = {s for s in symbols(OUT, "--undefined-only") if NAMESPACE in s}
    there = symbols(runtime, "--dynamic", "--defined-only")
    return [f"ExecuTorch has no {s}" for s in sorted(called - there)], len(called)


def main() -> int:
    """Print what is missing; 1 where anything is, 0 with a word where it can't be checked here."""
    if library() is None or not shutil.which("g++") or not shutil.which("nm"):
        print("ThreadCount.cpp: not checked (needs the executorch package, g++ and nm)")
        return 0
    missing, count = check()
    print("\n".join(missing) or f"ExecuTorch has the {count} functions that ThreadCount.cpp calls")
    return 1 if missing or not count else 0


if __name__ == "__main__":
    sys.exit(main())
