"""Install the pinned CPU build of PyTorch, and never one that pulls CUDA packages.

pip's own configuration may already offer the CPU build; where it doesn't, it comes from PyTorch's
index of CPU wheels. The build is checked before anything else is installed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "requirements.lock"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def pinned_torch() -> str:
    """torch==VERSION as the lock file has it."""
    found = re.search(r"^torch==\S+", LOCK.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{LOCK}: no line torch==VERSION")
    return found.group()


def cuda_version() -> str | None:
    """The CUDA version of the installed PyTorch; None for a CPU build. Raises if there is none."""
    code = "import torch; print(torch.version.cuda or '')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.strip() or None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", required=True, help="index of PyTorch's CPU wheels")
    args = parser.parse_args()
    torch = pinned_torch()
    # Without its dependencies a CUDA build comes without CUDA packages, and is seen below.
    first = subprocess.run([*PIP, "--no-deps", "--only-binary=:all:", f"{torch}+cpu"],
                           capture_output=True)  # fmt: skip
    if first.returncode != 0:
        subprocess.run([*PIP, "--no-deps", "--index-url", args.index, torch], check=True)
    subprocess.run([*PIP, "typing-extensions"], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
