"""What a device driver offers to the harness; drivers are found by listing this folder.

A driver is one module `mobilemod/harness/drivers/NAME.py` (or `NAME/driver.py`) with a function

    def create(device_id: str | None) -> Driver

device_id: what stands after the colon of `--device KIND:ID` (a serial, an address), or None: the
only device of the kind. `create` does nothing that can fail; `check` does.

`session.py` calls a driver like this, possibly in a thread beside another driver's:

    driver.check()                          once, before anything is built
    driver.run(folder, resume, receive)     once, and again after `DeviceLost`, with more in resume

What `run` must keep to:
- `receive` takes the stream's bytes as they arrive, cut anywhere; it writes them to disk before it
  returns. Call it from the thread that called `run`, and pass on whatever it raises (the user
  stopped the run, this machine's disk is full): clean up in a `finally`.
- While nothing comes, call `receive(b"")` about once a second: a stop is noticed there.
- Lines of an earlier start of the job may be handed over again: repetitions are dropped by
  (`run`, `seq`). Bytes that are no lines (a shell's greeting, a crash's text) are counted as
  damaged and do no harm; send diagnostics elsewhere all the same.
- `resume` is also in the folder as `resume.json`, written before `run` is called.
- Nothing that came from outside (file names, a device's answers) goes through a shell.
- On return, `done` has been received or the stream ended for good; the session looks itself
  whether anything is missing, and calls again where it is.
- What was changed on the device (screen, settings) is restored before `run` returns or raises.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from mobilemod.errors import UserError, unknown
from mobilemod.harness.protocol.job import Resume
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.targets import suffixes_of

__all__ = ["DRIVERS", "DeviceLost", "Driver", "JobFolder", "Receive", "Resume", "get_driver"]

Receive = Callable[[bytes], None]


def _listed() -> dict[str, str]:
    """Kind on the command line -> module of this folder: those that have `create`."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        name = f"{info.name}.driver" if info.ispkg else info.name
        path = Path(info.module_finder.path, *name.split(".")).with_suffix(".py")
        if path.is_file() and b"\ndef create(" in path.read_bytes():
            found[info.name.replace("_", "-")] = name
    return found


DRIVERS = _listed()
_ID = re.compile(r"[A-Za-z0-9._:\[\]%-]{1,128}\Z")


class DeviceLost(Exception):
    """The device is gone for now: cable out, app killed, link closed. The session tries again.

    Its message says in one line what happened. Where trying again is useless (wrong bundle on the
    device, its disk full, an app that is too old) raise `UserError` instead.
    """


class Driver(Protocol):
    """One device.

    input_kind: "images" (the device decodes and preprocesses the user's files itself) or "pixels"
    (one packed file of ready pixels). latency: whether its times mean anything; False for an
    emulated processor, whose latency is never asked for. most_threads: threads it can run. runs: by
    target what its files can run on there, where that is the same on every device of the kind.
    """

    input_kind: str = "images"
    latency: bool = True
    most_threads: int = 1
    runs: Mapping[str, tuple[str, ...]] = {}

    def check(self) -> None:
        """Raises `UserError` where the device can't be used here: what is missing, and the fix."""

    def suffixes(self) -> tuple[str, ...]:
        """The model files that it runs."""
        return suffixes_of(self.runs)

    def delegates(self, target: str) -> tuple[str, ...]:
        """What a target may run on there, by the protocol's names: its files are measured on the
        first, and the others have their self-test. Not every device of the kind need have them."""
        return self.runs.get(target, ())

    def environment(self) -> dict[str, Any]:
        """What its figures depend on beside what the device says of itself, JSON-ready."""
        return {}

    def extra(self, folder: JobFolder) -> dict[str, dict[str, Any]]:
        """What only this driver can tell, by model file name, JSON-ready; merged into the record's
        entries of the files once `run` is through. {} where there is nothing."""
        return {}

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        """Bring the job to the device (only what changed), start it, hand on what it writes.

        Returns when the device is done or its stream has ended. Raises `DeviceLost`, `UserError`,
        and what `receive` raises.
        """


def get_driver(device: str) -> Driver:
    """The driver of `KIND` or `KIND:ID`; `UserError` lists the known kinds."""
    kind, colon, device_id = device.partition(":")
    if kind not in DRIVERS:
        raise unknown("device", device, DRIVERS, ", or KIND:ID")
    if colon and not _ID.match(device_id):
        raise UserError(f"device {device!r}: an id has letters, digits and . _ : - only")
    module = importlib.import_module(f"mobilemod.harness.drivers.{DRIVERS[kind]}")
    return module.create(device_id or None)


def kind_of(device: str) -> str:
    """The kind in a device string."""
    return device.partition(":")[0]
