"""What runs a job on an Android device: the app's harness activity, or the Python worker.

The worker is for devices with a Python of their own, such as the emulated one of the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb_client import Device

PACKAGE, ACTIVITY = "io.mobilemod.app", "io.mobilemod.app/.HarnessActivity"
RECORDS = f"/sdcard/Android/data/{PACKAGE}/files/records"
_REASON = re.compile(r"\breason=\d+ \(([A-Z _]{1,40})\)")


class Runner(Protocol):
    """input_kind, suffixes: as a driver's. start: begin the job in a folder of the device. alive:
    whether it runs. stop: end it. why: one line on why it ended, as far as the device says."""

    input_kind: str
    suffixes: tuple[str, ...]

    def stream(self, job: str) -> str: ...

    def start(self, job: str, folder: str) -> None: ...

    def alive(self) -> bool: ...

    def stop(self) -> None: ...

    def why(self) -> str: ...


@dataclass(frozen=True)
class App:
    """The Android app. It reads the job where adb put it and writes its stream into its own files,
    the one place that both it and adb may use."""

    device: Device
    input_kind: str = "images"
    suffixes: tuple[str, ...] = (".tflite", ".pte")

    def stream(self, job: str) -> str:
        """Where the stream of a job is."""
        return f"{RECORDS}/{job}.jsonl"

    def start(self, job: str, folder: str) -> None:
        """Raises `UserError` where Android refuses to start the activity."""
        done = self.device.run("am", "start", "-S", "-n", ACTIVITY, "--es", "job", folder)
        said = f"{done.text}\n{done.stderr}"
        if done.status or "Error" in said:
            line = next((s for s in said.splitlines() if "Error" in s), said.strip())
            raise UserError(
                f"{self.device.serial}: the app's harness activity doesn't start ({line.strip()}); "
                "install the app of this version"
            )

    def alive(self) -> bool:
        return self.device.run("pidof", PACKAGE).text.strip() != ""

    def stop(self) -> None:
        self.device.run("am", "force-stop", PACKAGE)

    def why(self) -> str:
        """Android's newest reason for the app's end (Android 11 and later)."""
        found = _REASON.search(self.device.run("dumpsys", "activity", "exit-info", PACKAGE).text)
        return f"the app ended ({found[1].strip().lower()})" if found else "the app ended"


def has_app(device: Device) -> bool:
    """Whether the app is installed."""
    return device.run("pm", "path", PACKAGE).text.startswith("package:")


def lost(device: Device, runner: Runner) -> DeviceLost:
    """The error for a runner that ended in mid-job."""
    return DeviceLost(f"{device.serial}: {runner.why()} before the job was done")
