"""Sets up the emulated ARM64 root: everything in one folder, nothing installed on the host."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import atomic_folder, atomic_path
from mobilemod.harness.arm64 import debian, pins
from mobilemod.harness.arm64.debian import Debian
from mobilemod.harness.arm64.emulator import (
    COMPILE,
    HERE,
    PLUGIN,
    PROCESSOR_ROOTS,
    SITE,
    SOURCES,
    Emulator,
    recipe_digest,
)
from mobilemod.harness.arm64.process import reason, run_tool
from mobilemod.harness.worker.pte_native import NATIVE
from mobilemod.stamp import stamped


def set_up(folder: Path) -> dict[str, Any]:
    """Make `folder` a root that `load_emulator` takes; the stamp that it ends with.

    A root that is ready is left alone. Downloads stay in `folder/downloads`, so that a run that
    broke off goes on; the stamp is written last, so that a half-done root is never taken.

    Raises `UserError` where apt, pip or gcc is missing or fails, the network can't be reached, or
    another process is at it.
    """
    if sys.platform != "linux":
        raise UserError(f"the emulated ARM64 root needs Linux with apt; this is {sys.platform}")
    return stamped(folder.resolve(), recipe_digest(), _build)


def _build(folder: Path) -> dict[str, Any]:
    downloads = folder / "downloads"
    host = debian.host_architecture()
    architectures = tuple(dict.fromkeys(("arm64", host)))
    archive = Debian(downloads / "apt", pins.DEBIAN_MIRROR, pins.DEBIAN_SUITE, architectures)
    _say(f"package lists of Debian {pins.DEBIAN_SUITE}")
    archive.update()
    _say("QEMU and its libraries")
    emulator = archive.fetch(pins.EMULATOR_PACKAGES, host, downloads / "host")
    _say("the guest's Python and its libraries")
    guest = archive.fetch(pins.GUEST_PACKAGES, "arm64", downloads / "guest")
    _say("the guest's wheels")
    files = fetch_wheels(pins.WHEELS, downloads / "wheels")
    headers = archive.fetch(pins.HEADER_PACKAGES, "arm64", downloads / "headers")
    _say("unpacking")
    with atomic_folder(folder / "host") as path:
        debian.unpack(emulator, path)
        _keep_one_target(path)
    with atomic_folder(folder / "root") as path:
        debian.unpack(guest, path)
        # As pip would for `sys.path`; they hold no scripts that are needed.
        for file in files:
            with zipfile.ZipFile(file) as wheel:
                wheel.extractall(path / SITE)
        for name, text in pins.GUEST_FILES.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        _say("compiling what runs .pte files")
        _compile_pte(path, headers, downloads)
    with atomic_folder(folder / PROCESSOR_ROOTS) as path:
        _processor_roots(folder / "root", path)
    _say("compiling the counting plugin")
    compile_library(folder / PLUGIN)
    values = {
        "schema": "mobilemod/arm64/1",
        "recipe": recipe_digest(),
        "processors": list(pins.PROCESSORS),
        "packages": _versions([*emulator, *guest]),
        "wheels": list(pins.WHEELS),
    }
    for processor in pins.PROCESSORS.values():
        _check(Emulator(folder, values, processor))
    return values


def _compile_pte(root: Path, headers: Sequence[Path], downloads: Path) -> None:
    """Compile pte.cpp against the guest's ExecuTorch, into the folder of its libraries."""
    wheels = downloads / "wheels"
    _pip_download(wheels, pins.ZIG)
    package = root / SITE / "executorch"
    include = package / "include"
    (library,) = root.glob("usr/lib/*/libstdc++.so.6")
    with tempfile.TemporaryDirectory(dir=downloads) as name:
        with zipfile.ZipFile(_wheel_of(pins.ZIG, wheels)) as wheel:
            wheel.extractall(name)
        compiler = Path(name, "ziglang/zig")
        compiler.chmod(0o755)
        debian.unpack(headers, Path(name))
        folders = [
            *(Path(name, folder) for folder in pins.HEADERS),
            include,
            include / "executorch/runtime/core/portable_type/c10",
        ]
        command = [
            str(compiler), *pins.ZIG_COMMAND, *(f"-I{folder}" for folder in folders),
            "-o", str(package / "lib" / NATIVE), str(HERE / "pte.cpp"),
            f"-L{package / 'lib'}", "-lexecutorch", str(library),
        ]  # fmt: skip
        run_tool(command, ZIG_GLOBAL_CACHE_DIR=name, ZIG_LOCAL_CACHE_DIR=name)


def _processor_roots(root: Path, into: Path) -> None:
    """A folder for each processor: links to the root's, and its own /proc/cpuinfo."""
    for processor in pins.PROCESSORS.values():
        place = into / processor.name
        (place / "proc").mkdir(parents=True)
        (place / "proc/cpuinfo").write_text(processor.cpuinfo)
        for shared in root.iterdir():
            (place / shared.name).symlink_to(Path("../..", root.name, shared.name))


def fetch_wheels(requirements: Sequence[str], into: Path) -> list[Path]:
    """Download exactly these wheels for Linux on 64-bit ARM, without what they require.

    The files, as ordered. Raises `UserError` with pip's last line where one can't be had.
    """
    into.mkdir(parents=True, exist_ok=True)
    platforms = [word for p in pins.WHEEL_PLATFORMS for word in ("--platform", p)]
    _pip_download(into, "--python-version", pins.PYTHON, *platforms, *requirements)
    return [_wheel_of(requirement, into) for requirement in requirements]


def _pip_download(into: Path, *arguments: str) -> None:
    options = ["--only-binary=:all:", "--no-deps", "--quiet", "--disable-pip-version-check"]
    run_tool([sys.executable, "-m", "pip", "download", *options, "--dest", str(into), *arguments])


def _wheel_of(requirement: str, folder: Path) -> Path:
    # A wheel's file name has runs of '-', '_' and '.' as one '_', in either case.
    name, version = requirement.split("==")
    prefix = f"{name.replace('-', '_').replace('.', '_')}-{version}-".lower()
    return next(p for p in folder.iterdir() if p.name.lower().startswith(prefix))


def compile_library(out: Path, sources: Sequence[str] = SOURCES) -> None:
    """Compile the `.c` files of `sources` to a shared library; `UserError` without gcc."""
    with atomic_path(out) as path:
        files = [str(HERE / name) for name in sources if name.endswith(".c")]
        run_tool([*COMPILE, "-o", str(path), *files])


def _keep_one_target(host: Path) -> None:
    """QEMU comes with an emulator for each of thirty processors, 130 MB."""
    for path in (host / "usr/bin").iterdir():
        if path.name != "qemu-aarch64":
            path.unlink()
    shutil.rmtree(host / "usr/share", ignore_errors=True)


def _versions(packages: list[Path]) -> dict[str, str]:
    """Version by `name:architecture`, from the file names, which have ':' as '%3a'."""
    parts = [p.stem.split("_") for p in packages]
    return {f"{name}:{arch}": version.replace("%3a", ":") for name, version, arch in parts}


def _check(emulator: Emulator) -> None:
    """Run the guest once, so that what doesn't work shows here."""
    _say(f"first run on {emulator.processor.name}")
    code = "import platform, ai_edge_litert.interpreter; print(platform.machine())"
    done = emulator.run_python(["-c", code])
    if done.returncode or done.stdout.strip() != "aarch64":
        name = emulator.processor.name
        raise UserError(f"the emulated {name} doesn't run: {reason(done.stderr)}")


def _say(text: str) -> None:
    print(f"arm64: {text}", file=sys.stderr, flush=True)
