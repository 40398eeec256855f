"""The kit as pip installs it, away from its checkout: its files, its command, the README's lines.

Into environments of their own; what the kit depends on is this environment's, since that takes
long to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.unit.test_python_api import readme_lines

PACKAGES = ("mobilemod", "quantization", "export")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
IMAGES = "data/imagenette/imagenette2-320"

pytestmark = pytest.mark.slow


def called(*words: object, **more) -> str:
    """What a command prints that ends well."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """What pip needs of the checkout; it builds in the folder that it is given."""
    folder = tmp_path_factory.mktemp("project")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(project) -> Path:
    called(*PIP, "wheel", project, "--no-deps", "--no-build-isolation", "-w", project / "wheels")
    (found,) = (project / "wheels").iterdir()
    return found


def install(what: Path, folder: Path) -> Path:
    """`what` in a new environment in `folder`; its Python."""
    called(sys.executable, "-m", "venv", "--without-pip", folder)
    python, others = folder / "bin" / "python", Path(sysconfig.get_path("purelib"))
    # What builds is found without an index, and without the kit that may be installed beside it.
    (folder / "builds").mkdir()
    for found in (
        p for name in ("setuptools*", "_distutils_hack", "wheel*") for p in others.glob(name)
    ):
        (folder / "builds" / found.name).symlink_to(found)
    env = {**os.environ, "PYTHONPATH": str(folder / "builds")}
    options = ("--no-deps", "--no-build-isolation")
    called(*PIP, "--python", python, "install", *options, what, env=env)
    (packages,) = (folder / "lib").glob("python3.*/site-packages")
    (packages / "others.pth").write_text(f"{others}\n")
    return python


@pytest.fixture
def place(environment, tmp_path) -> dict:
    """Where and how an installed kit is run: nothing of the checkout on the way."""
    env = {k: v for k, v in environment.items() if k != "PYTHONPATH"}
    return {"cwd": tmp_path, "env": env}


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Of an environment with the wheel."""
    return install(wheel, tmp_path_factory.mktemp("wheel") / "env")


def test_every_file_of_the_packages_is_in_the_wheel(project, wheel):
    files = {p.relative_to(project).as_posix() for n in PACKAGES for p in (project / n).rglob("*")
             if p.is_file()}  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files
    assert {"mobilemod/py.typed", "mobilemod/assets/efficientmod_xxs.safetensors"} <= held


@pytest.mark.parametrize("of", ["wheel", "project"])
def test_the_installed_command_runs(of, request, place, tmp_path):
    python = install(request.getfixturevalue(of), tmp_path / "env")
    code = "import mobilemod, quantization, export; print(mobilemod.__file__, export.__file__)"
    for file in called(python, "-c", code, **place).split():
        assert Path(file).is_relative_to(tmp_path / "env")
    assert called(python.with_name("mobilemod"), "--version", **place) == "mobilemod 0.1.0\n"
    assert "predict" in called(python.with_name("mobilemod"), "--help", **place)


def test_caches_have_the_keys_of_the_checkout(python, place):
    """Others' packages, which lie beside the installed ones, are in none."""
    code = "from mobilemod.closure import code_digest; print(code_digest('export.lowering'))"
    installed = called(python, "-c", code, **place)
    assert installed == called(sys.executable, "-c", code, cwd=ROOT)


def test_the_lines_of_the_readme_run_with_the_wheel(python, data_dir, place, tmp_path):
    (tmp_path / IMAGES).parent.mkdir(parents=True)
    (tmp_path / IMAGES).symlink_to(data_dir)
    picture = next((data_dir / "val" / "n01440764").iterdir())
    shutil.copy(picture, tmp_path / "photo.jpg")
    (tmp_path / "lines.py").write_text("\n".join(readme_lines()))
    first, second, third = called(python, "lines.py", **place).splitlines()
    assert first.startswith("Drop(points=")
    assert second.startswith("tench ") and float(third) > 0.99
    bundle = tmp_path / "dist" / "efficientmod_xxs"
    assert {p.suffix for p in bundle.glob("*int8*")} == {".tflite"}
