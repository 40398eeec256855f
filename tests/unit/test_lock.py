"""The lock file fits every machine that docs/install.md names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
# sys_platform, platform_machine, the wheels' platform tags.
MANYLINUX = ("2_39", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
MACHINES = {
    "linux-x86_64": ("linux", "x86_64", [f"manylinux_{v}_x86_64" for v in MANYLINUX]
                     + ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]),
    "linux-aarch64": ("linux", "aarch64",
                      [f"manylinux_{v}_aarch64" for v in MANYLINUX] + ["manylinux2014_aarch64"]),
    "macos-arm64": ("darwin", "arm64", [f"macosx_{v}_0_{a}" for v in (14, 13, 12, 11)
                                        for a in ("arm64", "universal2")]
                    + [f"macosx_10_{v}_universal2" for v in (15, 13, 9)]),
}  # fmt: skip
# Published as source alone; pure Python, so that every machine builds it.
SOURCE_ONLY = {"antlr4-python3-runtime"}


def lock() -> list[Requirement]:
    """The pins of requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip()]


def test_the_lock_pins_all_that_the_project_declares():
    pins = {canonicalize_name(r.name): r for r in lock()}
    assert all(str(r.specifier).startswith("==") for r in pins.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["test"]:
        wanted = Requirement(text)
        pin = pins[canonicalize_name(wanted.name)]
        version = str(pin.specifier).removeprefix("==")
        assert wanted.specifier.contains(version), text
        assert wanted.marker == pin.marker, text
    low, high = PYTHONS[0], f"3.{int(PYTHONS[-1].split('.')[1]) + 1}"
    assert project["requires-python"] == f">={low},<{high}"


@pytest.mark.slow
@pytest.mark.long
def test_every_pin_has_a_wheel_for_every_machine(tmp_path):
    """Asks the package index, for minutes: for a change of the lock. Nothing is downloaded but
    metadata."""
    where = [(m, p) for m in MACHINES for p in PYTHONS]
    with ThreadPoolExecutor(2) as pool:
        said = dict(zip(where, pool.map(lambda w: resolve(tmp_path, *w), where), strict=True))
    if all("connection" in text.lower() or "retries" in text for text in said.values()):
        pytest.skip("no package index can be reached")
    assert {place: text for place, text in said.items() if text} == {}


def resolve(folder: Path, machine: str, python: str) -> str:
    """What pip says of a machine on which a pin has no wheel, "" where all have one."""
    system, processor, tags = MACHINES[machine]
    world = {
        "sys_platform": system, "platform_machine": processor, "python_version": python,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
    }  # fmt: skip
    pins = [r for r in lock() if r.marker is None or r.marker.evaluate(world)]
    file = folder / f"{machine}-{python}.txt"
    file.write_text("".join(f"{r.name}{r.specifier}\n" for r in pins if r.name not in SOURCE_ONLY))
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed",
        "--no-deps", "--only-binary=:all:", "--target", str(folder / file.stem),
        "--python-version", python, "--requirement", str(file),
        *(word for tag in tags for word in ("--platform", tag)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return "" if done.returncode == 0 else done.stderr[-600:]
