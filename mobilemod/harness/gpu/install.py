"""Sets up SwiftShader, a software Vulkan, in a folder; nothing is installed on the host."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import write_json
from mobilemod.harness.arm64 import debian
from mobilemod.harness.arm64.debian import Debian
from mobilemod.harness.arm64.pins import DEBIAN_MIRROR, DEBIAN_SUITE
from mobilemod.harness.gpu.places import DRIVER, LOADER, SWIFTSHADER, is_whole
from mobilemod.stamp import stamped

# Not Chromium itself: what its packages share, of which these files need nothing but the C library.
PACKAGE = "chromium-common"
INSIDE = Path("usr/lib/chromium")
LICENSES = Path("usr/share/doc", PACKAGE, "copyright")


def set_up(folder: Path) -> dict[str, Any]:
    """Fill `folder` with what `gpu_places` looks for; the stamp that it ends with.

    A folder that is ready is left alone. Raises `UserError` where apt is missing or fails, the
    network can't be reached, or another process is at it.
    """
    if sys.platform != "linux":
        raise UserError(f"SwiftShader is set up on Linux with apt; this is {sys.platform}")
    folder = folder.resolve()
    return stamped(folder, _recipe(folder), _build, is_whole)


def _build(folder: Path) -> dict[str, Any]:
    host = debian.host_architecture()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        archive = Debian(work / "apt", DEBIAN_MIRROR, DEBIAN_SUITE, (host,))
        _say(f"package lists of Debian {DEBIAN_SUITE}")
        archive.update()
        _say(f"{PACKAGE}: about 27 MB, of which 6 are kept")
        package = archive.fetch_alone(PACKAGE, host, work)
        debian.unpack([package], work)
        for file in (INSIDE / LOADER, INSIDE / SWIFTSHADER, LICENSES):
            if not (work / file).is_file():
                raise UserError(f"{package.name} lacks {file}")
            shutil.copyfile(work / file, folder / file.name)
    driver = {"library_path": str(folder / SWIFTSHADER), "api_version": "1.0.5"}
    write_json(folder / DRIVER, {"file_format_version": "1.0.0", "ICD": driver})
    return {
        "schema": "mobilemod/gpu/1",
        "recipe": _recipe(folder),
        "package": package.name.replace("%3a", ":").removesuffix(".deb"),
        "driver": str(folder / DRIVER),
    }


def _recipe(folder: Path) -> str:
    """Changes with what is fetched and where it lies: the driver's file holds an absolute path."""
    parts = DEBIAN_MIRROR, DEBIAN_SUITE, PACKAGE, LOADER, SWIFTSHADER, str(folder)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _say(text: str) -> None:
    print(f"gpu: {text}", file=sys.stderr, flush=True)
