"""Python environments of their own, set up once in a folder: for packages that need others' older
versions, and so can't stand beside this kit's.

python -m export.targets.environment onnx2tf --out .venv-onnx2tf
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import require_replaceable
from mobilemod.stamp import read_stamp, stamped
from mobilemod.targets import RUNTIMES, TARGETS
from mobilemod.targets.facts import Environment

SCHEMA = "mobilemod/environment/1"
VENV_FILE = "pyvenv.cfg"
WORDS = 300  # characters of another's error


def environments() -> dict[str, Environment]:
    """All that a target has, by package."""
    own = (f.environment for f in TARGETS.values() if f.environment is not None)
    return {e.package: e for e in own} | RUNTIMES


def folder_of(environment: Environment) -> Path:
    """Where it is, or would be, set up."""
    return Path(os.environ.get(environment.variable) or environment.folder).absolute()


def recipe_of(environment: Environment) -> str:
    """Changes with what is in it and where it lies: a virtual environment can't be moved."""
    parts = environment.python, _requirements(environment).read_text("utf-8")
    return hashlib.sha256("\0".join((*parts, str(folder_of(environment)))).encode()).hexdigest()


def version_of(environment: Environment) -> str:
    """The version of its package, as pinned."""
    text = _requirements(environment).read_text("utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))[environment.package]


def programs_in(environment: Environment) -> Path:
    """The folder of its programs, `python` among them; `UserError` where it isn't set up."""
    folder = folder_of(environment)
    stamp, run = read_stamp(folder), f"run '{environment.installed_by}'"
    if not _is_whole(folder) or not stamp:
        raise UserError(
            f"no {environment.package} in {folder}: {run}, or give its folder by "
            f"{environment.variable}"
        )
    if stamp.get("recipe") != recipe_of(environment):
        raise UserError(f"{folder} was moved, or holds other versions than this kit's: {run}")
    return folder / "bin"


def outside_of_ours(programs: Path) -> dict[str, str]:
    """The variables of a process that runs in it: its own programs first, no modules of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {**kept, "PATH": os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath)))}


def last_error(output: str) -> str:
    """The line that says most in a failed program's output: the last one that names an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "Error:" in line or line.startswith("ERROR:")]
    return (errors or lines or ["no output"])[-1][:WORDS]


def set_up(environment: Environment) -> dict[str, Any]:
    """Make it with pip from its pins; the stamp that it ends with.

    One that is ready is left alone. Raises `UserError` where its Python is missing, pip fails, the
    folder holds something else, or another process is at it.
    """
    folder, recipe = folder_of(environment), recipe_of(environment)

    def build(folder: Path) -> dict[str, Any]:
        require_replaceable(folder, VENV_FILE)
        python = _python(environment)
        print(f"{environment.package}: setting up {folder}", file=sys.stderr, flush=True)
        _run(environment, [python, "-I", "-m", "venv", "--clear", str(folder)])
        pip = [folder / "bin" / "python", "-I", "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", "--no-deps", "-r", _requirements(environment)]
        _run(environment, [*map(str, pip)])
        return {"schema": SCHEMA, "recipe": recipe, "package": environment.package}

    return stamped(folder, recipe, build, _is_whole)


def _requirements(environment: Environment) -> Path:
    return Path(__file__).parent.joinpath(*environment.code.split("."), "requirements.txt")


def _is_whole(folder: Path) -> bool:
    return (folder / "bin" / "python").exists()


def _python(environment: Environment) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version == environment.python:
        return sys.executable
    found = shutil.which(f"python{environment.python}")
    if found is None:
        raise UserError(
            f"{environment.package} needs Python {environment.python}: put python"
            f"{environment.python} on the path beside this {version}"
        )
    return found


def _run(environment: Environment, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = last_error(done.stdout + done.stderr)
        raise UserError(f"{environment.package} can't be set up: {said}")


def main(argv: Sequence[str] | None = None) -> int:
    """Set up the one that is named; the exit code."""
    known = environments()
    parser = argparse.ArgumentParser(description="Set up a Python environment of its own.")
    parser.add_argument("package", choices=known)
    parser.add_argument("--out", type=Path, help="folder to fill; the package's own")
    args = parser.parse_args(argv)
    environment = known[args.package]
    if args.out is not None:
        os.environ[environment.variable] = str(args.out)
    try:
        set_up(environment)
    except UserError as error:
        print(f"mobilemod: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
