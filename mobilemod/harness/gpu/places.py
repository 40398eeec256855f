"""Where this machine may have a GPU, and how a process is started that shall find it."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER_VARIABLE, DEFAULT_FOLDER = "MOBILEMOD_GPU", ".gpu"
LOADER, SWIFTSHADER, DRIVER = "libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"
# What Vulkan's loader takes as the list of drivers, the newer name first.
DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
# Where the system's drivers are named, a JSON file each.
DRIVER_FOLDERS = tuple(
    Path(root, "vulkan/icd.d") for root in ("/etc", "/usr/local/share", "/usr/share")
)
# Debian's Chromium comes with SwiftShader and a loader.
CHROMIUM = Path("/usr/lib/chromium")


@dataclass(frozen=True)
class GpuPlace:
    """Drivers that a runtime may find a GPU by; whether there is one shows only there.

    name: for people. environment: added to that of the process. loader: Vulkan's library, loaded
    before the runtime asks for it by name; None where the system has its own.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    loader: Path | None = None


def default_folder() -> Path:
    """Where SwiftShader is set up: the environment variable MOBILEMOD_GPU, else `.gpu`."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds all that it takes to run SwiftShader."""
    return all((folder / name).is_file() for name in (LOADER, SWIFTSHADER, DRIVER))


def gpu_places() -> list[GpuPlace]:
    """Those that there are: the system's drivers first, among which the runtime chooses."""
    software = [f.resolve() for f in (default_folder(), CHROMIUM) if is_whole(f)][:1]
    found = []
    if _system_drivers():
        lacking = sys.platform == "linux" and ctypes.util.find_library("vulkan") is None
        loader = software[0] / LOADER if lacking and software else None
        found.append(GpuPlace("the system's drivers", {}, loader))
    for folder in software:
        environment = dict.fromkeys(DRIVER_VARIABLES, str(folder / DRIVER))
        found.append(GpuPlace(f"SwiftShader in {folder}", environment, folder / LOADER))
    return found


def _system_drivers() -> bool:
    # On macOS no file names them.
    return (
        sys.platform == "darwin"
        or any(os.environ.get(name) for name in DRIVER_VARIABLES)
        or any(True for folder in DRIVER_FOLDERS for _ in folder.glob("*.json"))
    )
