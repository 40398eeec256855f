"""Which file of a bundle serves best on this machine."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle_parts import running_files
from mobilemod.errors import UserError
from mobilemod.targets import TARGETS

if TYPE_CHECKING:
    from mobilemod.manifest import Bundle
    from mobilemod.manifest_schema import ModelFile

CPU_INFO = Path("/proc/cpuinfo")
X86 = ("x86_64", "amd64", "i386", "i686")
# Of processors whose int8 is fast: what the system calls the instructions.
VNNI, DOT = ("avx512_vnni", "avx_vnni"), ("asimddp",)


def place_of_host(machine: str = "", flags: str | None = None) -> str:
    """The place, of `mobilemod.targets.facts.PLACES`, whose processors are like this machine's.

    machine: as `platform.machine` calls it; flags: what the processor can do, as Linux lists it.
    """
    machine = machine or platform.machine()
    if flags is None:
        flags = CPU_INFO.read_text(errors="replace") if CPU_INFO.is_file() else ""
    found = set(flags.split())
    if machine.lower() in X86:
        return "x86-vnni" if found & {*VNNI} else "x86"
    # Apple's processors for Macs have all had them, and macOS has no such list.
    return "android-dot" if found & {*DOT} or sys.platform == "darwin" else "android-old"


def best_file(bundle: Bundle, place: str | None = None) -> ModelFile:
    """The file that targets advise for a place, this machine's without one; else the first that
    runs here, int8 before float. `UserError` where none runs here."""
    place = place or place_of_host()
    files = running_files(bundle, say=False)
    if not files:
        raise UserError(f"{bundle.folder} holds no file that runs here; give it a file that does")
    uses = [(use.rank, name, use.int8) for name, facts in TARGETS.items() for use in facts.uses
            if use.place == place]  # fmt: skip
    for _, target, int8 in sorted(uses):
        for file in files:
            if (file.target, file.precision == "int8") == (target, int8):
                return file
    return min(files, key=lambda file: file.precision != "int8")
