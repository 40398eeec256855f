"""Wheels for Linux on 64-bit ARM, fetched by pip and unpacked into a folder."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mobilemod.harness.arm64.process import run_tool


def fetch_wheels(
    requirements: Sequence[str], platforms: Sequence[str], python: str, into: Path
) -> list[Path]:
    """Download exactly these wheels, without what they require; the files, sorted.

    Raises `UserError` with pip's last line where one can't be had.
    """
    into.mkdir(parents=True, exist_ok=True)
    options = ["--only-binary=:all:", "--no-deps", "--python-version", python, "--quiet"]
    for platform in platforms:
        options += ["--platform", platform]
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    run_tool([*pip, "--dest", str(into), *options, *requirements])
    return [_wheel_of(requirement, into) for requirement in requirements]


def _wheel_of(requirement: str, folder: Path) -> Path:
    # A wheel's file name has runs of '-', '_' and '.' as one '_', in either case.
    name, version = requirement.split("==")
    prefix = f"{name.replace('-', '_').replace('.', '_')}-{version}-".lower()
    return next(p for p in folder.iterdir() if p.name.lower().startswith(prefix))


def unpack(wheels: Sequence[Path], into: Path) -> None:
    """Unpack wheels as pip would for `sys.path`; they hold no scripts that are needed."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
