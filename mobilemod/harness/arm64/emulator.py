"""Running programs on the emulated ARM64 processor and counting their instructions."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError, unknown
from mobilemod.harness.arm64.pins import PROCESSOR, PROCESSORS, PYTHON, Processor
from mobilemod.harness.arm64.process import reason
from mobilemod.harness.worker import copy_to
from mobilemod.stamp import read_stamp
from mobilemod.targets import suffix_of

HERE = Path(__file__).parent
# The QEMU plugin that counts instructions: its C sources, beside this file, and how it is compiled.
SOURCES = ("icount.c", "classify.c", "classify.h")
COMPILE = ("gcc", "-O2", "-shared", "-fPIC")
PLUGIN = "icount.so"
FOLDER_VARIABLE, DEFAULT_FOLDER = "MOBILEMOD_ARM64", ".arm64"
SITE = "site"  # the guest's wheels
# A root of each processor's own: links to what all have, and its /proc/cpuinfo.
PROCESSOR_ROOTS = "processors"
# The order of `enum a64_class` in classify.h.
CLASSES = ("fp_mla", "int8_dot", "int_mla", "simd_fp", "load", "store", "other")
GUEST_SCRIPT = HERE / "guest.py"
# Nothing of the caller's environment: what the guest computes must not depend on it.
GUEST_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True)
class Inference:
    """One file's result on the emulated processor.

    outputs: float32 (N, K). counts: executed instructions of one inference by class, of each
    counted repetition. runtime: what ran the file, with version.
    """

    outputs: np.ndarray
    counts: tuple[dict[str, int], ...]
    runtime: str

    def instructions(self) -> dict[str, Any]:
        """As records have them: `total` and `classes` of the last repetition, `spread` of all."""
        totals = [sum(c.values()) for c in self.counts]
        return {
            "total": totals[-1],
            "classes": {name: self.counts[-1][name] for name in CLASSES},
            # Of the same inference counted again: 0 unless something is wrong.
            "spread": max(totals) - min(totals),
        }


@dataclass(frozen=True)
class Emulator:
    """A set-up root, and one of the processors that it can be.

    stamp: versions of what it holds, as `setup` wrote them.
    """

    folder: Path
    stamp: dict[str, Any]
    processor: Processor = PROCESSORS[PROCESSOR]

    def run(
        self, program: Sequence[str], counts: Path | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run an ARM64 program to its end; with `counts`, its marks write there (icount.c)."""
        return subprocess.run(
            self.command(program, counts),
            env=self.environment(Path(".")),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def command(self, program: Sequence[str], counts: Path | None = None) -> list[str]:
        """What runs an ARM64 program here; see `run`."""
        plugin = []
        if counts is not None:
            # In an option list a comma is written twice.
            library, out = (str(p).replace(",", ",,") for p in (self.folder / PLUGIN, counts))
            plugin = ["-plugin", f"file={library},out={out}"]
        qemu = [*self._loader(), str(self.folder / "host/usr/bin/qemu-aarch64")]
        root = self.folder / PROCESSOR_ROOTS / self.processor.name
        options = ["-L", str(root), "-cpu", self.processor.qemu, "-seed", "1"]
        return [*qemu, *options, *plugin, *program]

    def python_command(self, arguments: Sequence[str]) -> list[str]:
        """What runs the guest's Python here."""
        return self.command([self._python(), "-s", *arguments])

    def _python(self) -> str:
        return str(self.folder / "root/usr/bin" / f"python{PYTHON}")

    def environment(self, *modules: Path) -> dict[str, str]:
        """The guest's environment, with folders of Python modules beside the guest's wheels."""
        sites = [self.folder / "root" / SITE, *modules]
        return {**GUEST_ENVIRONMENT, "PYTHONPATH": ":".join(map(str, sites))}

    def run_python(
        self, arguments: Sequence[str], counts: Path | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As `run`, for the guest's Python."""
        return self.run([self._python(), "-s", *arguments], counts, cwd)

    def infer(self, model: Path, x: np.ndarray, repeats: int = 2) -> Inference:
        """Run `model` on images `x`, float32 (N, 3, H, W), one thread; count it on the first.

        Each of `repeats` inferences is counted by itself, after one that is not. Raises
        `UserError` where the guest can't run the file, with the last line that it said.
        """
        with tempfile.TemporaryDirectory() as name:
            # Names that are the same in every run: Python's own instructions depend on them.
            folder = Path(name)
            own = f"model{suffix_of(model)}"
            (folder / own).symlink_to(model.resolve())
            np.save(folder / "x.npy", np.ascontiguousarray(x, np.float32))
            arguments = [str(GUEST_SCRIPT), own, "x.npy", "y.npy", str(repeats)]
            copy_to(folder)
            done = self.run_python(arguments, folder / "counts", folder)
            if done.returncode:
                raise UserError(f"{model}: failed on emulated ARM64: {reason(done.stderr)}")
            counts = parse_counts((folder / "counts").read_text())
            *inferences, nothing = counts[-repeats - 1 :]
            return Inference(
                np.load(folder / "y.npy"),
                tuple({c: n[c] - nothing[c] for c in CLASSES} for n in inferences),
                done.stdout.strip(),
            )

    def _loader(self) -> list[str]:
        # QEMU runs with the C library that it was built for, not with the host's.
        host = self.folder / "host"
        (linker,) = host.glob("lib/*-linux-gnu*/ld-linux-*.so.*")
        triplet = linker.parent.name
        folders = (host / "lib" / triplet, host / "usr/lib" / triplet)
        return [str(linker), "--library-path", ":".join(map(str, folders))]


def parse_counts(text: str) -> list[dict[str, int]]:
    """The counts that icount.c wrote, one dictionary per mark.

    Raises `RuntimeError` where the guest had a second thread: the counts are then not exact.
    """
    found = []
    for line in text.splitlines():
        *numbers, threads = map(int, line.split())
        if threads != 1:
            raise RuntimeError(f"the emulated program had {threads} threads; counts need one")
        found.append(dict(zip(CLASSES, numbers, strict=True)))
    return found


def recipe_digest() -> str:
    """Changes with every version, option and source file that a root is made from."""
    parts = [(HERE / name).read_bytes() for name in ("pins.py", "pte.cpp", *SOURCES)]
    return hashlib.sha256(b"\0".join([*parts, " ".join(COMPILE).encode()])).hexdigest()


def default_folder() -> Path:
    """Where the root is: the environment variable MOBILEMOD_ARM64, else `.arm64`."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def find_processor(name: str) -> Processor:
    """The emulated processor of a name; `UserError` lists the known ones."""
    if name not in PROCESSORS:
        raise unknown("emulated processor", name, PROCESSORS)
    return PROCESSORS[name]


def load_emulator(folder: Path | None = None, processor: str = PROCESSOR) -> Emulator:
    """The root in `folder`; `UserError` where none is set up, or one of other versions, and for a
    processor that isn't known."""
    found = find_processor(processor)
    folder = (folder or default_folder()).resolve()
    stamp = read_stamp(folder)
    if not stamp:
        raise UserError(f"no emulated ARM64 root in {folder}; run 'make arm64'")
    if stamp.get("recipe") != recipe_digest():
        raise UserError(f"the emulated ARM64 root in {folder} is outdated; run 'make arm64'")
    return Emulator(folder, stamp, found)
