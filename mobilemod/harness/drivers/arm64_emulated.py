"""Emulated ARM64 processors: accuracy and instruction counts. Never a latency."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from mobilemod.data.testcard import draw_card
from mobilemod.harness.arm64.emulator import Emulator, find_processor, load_emulator
from mobilemod.harness.arm64.pins import PROCESSOR
from mobilemod.harness.drivers import Driver, JobFolder, Receive, Resume
from mobilemod.harness.drivers.process import stream_process
from mobilemod.harness.worker import MODULE, copy_to
from mobilemod.harness.worker.inputs import Feed
from mobilemod.harness.worker.runtimes import RUNTIMES, delegates_of
from mobilemod.progress import progress
from mobilemod.targets import suffixes_of


class EmulatedDriver(Driver):
    """The root that `make arm64` sets up."""

    latency = False

    def __init__(self, processor: str = PROCESSOR):
        self.processor = processor

    @cached_property
    def emulator(self) -> Emulator:
        """Raises `UserError` where none is set up."""
        return load_emulator(processor=self.processor)

    def check(self) -> None:
        self.emulator  # noqa: B018

    def suffixes(self) -> tuple[str, ...]:
        return suffixes_of(RUNTIMES)

    def delegates(self, target: str) -> tuple[str, ...]:
        return delegates_of(target)

    def environment(self) -> dict[str, Any]:
        """The processor, and what emulates it and runs on it."""
        stamp = self.emulator.stamp
        qemu = next(v for k, v in stamp["packages"].items() if k.startswith("qemu-user"))
        return {"processor": self.processor, "qemu": qemu, "wheels": stamp["wheels"]}

    def extra(self, folder: JobFolder) -> dict[str, dict[str, Any]]:
        """Executed instructions of one inference by class, by file."""
        feed = Feed(folder)
        x = feed.normalize(draw_card(*feed.preprocess.sides))
        files = progress(folder.job.files, "counting", len(folder.job.files), "file")
        return {
            f.name: {"instructions": self.emulator.infer(folder.path(f.path), x).instructions()}
            for f in files
        }

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        with tempfile.TemporaryDirectory() as name:
            copy_to(Path(name))
            arguments = ["-m", MODULE, str(folder.folder.resolve()), "--kind", "arm64-emulated"]
            command = self.emulator.python_command(arguments)
            stream_process(command, receive, self.emulator.environment(Path(name)))


def create(device_id: str | None) -> EmulatedDriver:
    """The processor of that name, as `pins.PROCESSORS` has them; usually a Cortex-A76."""
    return EmulatedDriver(PROCESSOR if device_id is None else find_processor(device_id).name)
