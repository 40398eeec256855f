"""This machine: the worker in a process of its own, with the Python that runs the harness."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import mobilemod
from mobilemod.errors import UserError
from mobilemod.harness.drivers import Driver, JobFolder, Receive, Resume
from mobilemod.harness.drivers.process import stream_process
from mobilemod.harness.worker import MODULE
from mobilemod.harness.worker.runtimes import RUNTIMES, delegates_of
from mobilemod.targets import suffixes_of


class HostDriver(Driver):
    """LiteRT and ExecuTorch, whichever is installed. worker: the module that runs jobs."""

    worker = MODULE

    @property
    def most_threads(self) -> int:
        return os.cpu_count() or 1

    def check(self) -> None:
        if not self.suffixes():
            names = " nor ".join(r.name for r in RUNTIMES.values())
            raise UserError(f"neither {names} is installed here; run 'make setup'")

    def suffixes(self) -> tuple[str, ...]:
        return suffixes_of(t for t, r in RUNTIMES.items() if r.version is not None)

    def delegates(self, target: str) -> tuple[str, ...]:
        return delegates_of(target)

    def environment(self) -> dict[str, Any]:
        """The system, and how busy it is."""
        system = f"{platform.system()} {platform.machine()}"
        return {"system": system, "load_before": round(os.getloadavg()[0], 2)}

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        # The package that runs here, wherever the command was given.
        source = str(Path(mobilemod.__file__).parents[1])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        command = [
            sys.executable,
            "-m",
            self.worker,
            str(folder.folder.resolve()),
            "--kind",
            "host",
        ]
        stream_process(command, receive, {**os.environ, "PYTHONPATH": path})


def create(device_id: str | None) -> HostDriver:
    """There is one host."""
    if device_id is not None:
        raise UserError(f"host:{device_id}: there is one host; give --device host")
    return HostDriver()
