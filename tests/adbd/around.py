"""Runs a command with an emulated device plugged in: `python -m tests.adbd.around COMMAND …`.

The device has the ARM64 Python of `make arm64` and is seen as the only one, by an adb server that
ends with the command. `--app` before the command: the app's stand-in in its place.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from mobilemod.errors import UserError
from tests.adbd.device import adb_server, can_emulate, emulated, plug


def main(words: list[str]) -> int:
    app = words[:1] == ["--app"]
    command = words[1:] if app else words
    if not command:
        raise UserError("python -m tests.adbd.around [--app] COMMAND …")
    if (why := can_emulate()) is not None:
        raise UserError(why)
    options = ("--app", "--no-python") if app else ()
    with tempfile.TemporaryDirectory(prefix="mobilemod-adbd-") as name:
        folder = Path(name)
        with adb_server(folder), emulated(folder / "device", *options) as device:
            plug(device)
            return subprocess.call(command)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"tests.adbd: {error}", file=sys.stderr)
        sys.exit(2)
