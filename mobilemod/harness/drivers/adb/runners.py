"""What runs a job on an Android device: the app's harness activity, or the Python worker.

The worker is for devices with a Python of their own, such as the emulated one of the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from mobilemod.errors import UserError
from mobilemod.harness import worker
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb.client import Device
from mobilemod.harness.drivers.bounded import last_line, whole
from mobilemod.harness.worker.runtimes import RUNTIMES

PACKAGE, ACTIVITY = "io.mobilemod.app", "io.mobilemod.app/.HarnessActivity"
RECORDS = f"/sdcard/Android/data/{PACKAGE}/files/records"
# With less than this on its disk a runner's end needs no other explanation.
LEAST_FREE = 256 << 10
_REASON = re.compile(r"\breason=\d+ \(([A-Z _]{1,40})\)")


# What a device's Python can run: its words are ours, whatever else it prints.
PROBE = f"""
import importlib.util as u
names = {("numpy", "PIL", *(r.module for r in RUNTIMES.values()))}
print("mobilemod", *[n for n in names if u.find_spec(n)])
"""
HAS_PYTHON = 'command -v python3 >/dev/null 2>&1 || exit 1; exec python3 -c "$1"'
# Detached, so that it outlives the cable. $1: the harness's folder, $2: the job's, $3: the stream.
START_WORKER = """
cd "$1" && mkdir -p records && rm -f worker.pid || exit 1
setsid sh -c 'echo $$ >worker.pid
  PYTHONPATH=$1/worker exec python3 -m mobilemod.harness.worker "$1" --kind adb --stream "$2"
' mobilemod "$2" "$3" </dev/null >/dev/null 2>worker.log &
exit 0
"""
# The number may be another process's by now.
WORKER_PID = """
read -r pid 2>/dev/null <"$1/worker.pid" || exit 0
case $pid in *[!0-9]* | "") exit 0 ;; esac
grep -q mobilemod "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
exit 0
"""
WORKER_FOLDER = "worker"


class JobRunner(Protocol):
    """What runs a job there; it decodes and preprocesses the images itself."""

    @property
    def runs(self) -> Mapping[str, tuple[str, ...]]:
        """As a driver's."""

    def luggage(self) -> dict[str, Path]:
        """Files that go into the job's folder beside the job: path there -> file here."""

    def stream(self, job: str) -> str:
        """Where it writes the stream of a job."""

    def start(self, job: str, folder: str) -> None:
        """Begin the job in a folder of the device; `UserError` where it can't."""

    def alive(self) -> bool:
        """Whether it runs."""

    def stop(self) -> None:
        """End it."""

    def why(self) -> str:
        """One line on why it ended, as far as the device says."""


@dataclass(frozen=True)
class App:
    """The Android app. It reads the job where adb put it and writes its stream into its own files,
    the one place that both it and adb may use."""

    device: Device
    runs: ClassVar = {
        "tflite": ("xnnpack", "gpu", "npu"),
        "executorch": ("xnnpack",),
        "executorch:vulkan": ("vulkan",),
    }

    def luggage(self) -> dict[str, Path]:
        return {}

    def stream(self, job: str) -> str:
        return f"{RECORDS}/{job}.jsonl"

    def start(self, job: str, folder: str) -> None:
        done = self.device.run("am", "start", "-S", "-n", ACTIVITY, "--es", "job", folder)
        said = f"{done.text}\n{done.stderr}"
        if done.status or "Error" in said:
            line = next((s for s in said.splitlines() if "Error" in s), said.strip())
            raise UserError(
                f"{self.device.serial}: the app's harness activity doesn't start "
                f"({last_line(line)}); install the app of this version"
            )

    def alive(self) -> bool:
        return self.device.run("pidof", PACKAGE).text.strip() != ""

    def stop(self) -> None:
        self.device.run("am", "force-stop", PACKAGE)

    def why(self) -> str:
        """Android's newest reason for the app's end (Android 11 and later)."""
        found = _REASON.search(self.device.run("dumpsys", "activity", "exit-info", PACKAGE).text)
        return f"the app ended ({found[1].strip().lower()})" if found else "the app ended"


@dataclass(frozen=True)
class PythonWorker:
    """mobilemod.harness.worker in the device's own Python. folder: the harness's there."""

    device: Device
    folder: str
    packages: frozenset[str]

    @property
    def runs(self) -> dict[str, tuple[str, ...]]:
        return {t: r.delegates for t, r in RUNTIMES.items() if r.module in self.packages}

    def luggage(self) -> dict[str, Path]:
        root = Path(worker.__file__).parents[3]
        return {f"{WORKER_FOLDER}/{name}": root / name for name in worker.FILES}

    def stream(self, job: str) -> str:
        return f"{self.folder}/records/{job}.jsonl"

    def start(self, job: str, folder: str) -> None:
        done = self.device.script(START_WORKER, self.folder, folder, self.stream(job))
        if done.status:
            raise UserError(f"{self.device.serial}: no worker starts: {last_line(done.stderr)}")

    def alive(self) -> bool:
        return self._pid() != ""

    def stop(self) -> None:
        if pid := self._pid():
            self.device.run("kill", "-9", pid)

    def why(self) -> str:
        said = self.device.run("tail", "-n", "1", f"{self.folder}/worker.log").text
        line = last_line(said)
        return f"the worker ended{' (' + line + ')' if line else ''}"

    def _pid(self) -> str:
        text = self.device.script(WORKER_PID, self.folder).text
        return "" if whole(text) is None else text


def find_runner(device: Device, folder: str) -> JobRunner:
    """The app where it is installed, else the device's Python.

    Raises `UserError` where there is neither, or the Python lacks what the worker needs.
    """
    if device.run("pm", "path", PACKAGE).text.startswith("package:"):
        return App(device)
    done = device.script(HAS_PYTHON, PROBE)
    said = [s.split()[1:] for s in done.text.splitlines() if s.startswith("mobilemod ")]
    if not said:
        raise UserError(
            f"{device.serial} has neither the app ({PACKAGE}) nor a Python of its own; build and "
            "install apps/android"
        )
    lacking = {"numpy", "PIL", "ai_edge_litert"} - set(said[0])
    if lacking:
        raise UserError(f"{device.serial}: its Python lacks {', '.join(sorted(lacking))}")
    return PythonWorker(device, folder, frozenset(said[0]))


def ended(device: Device, runner: JobRunner, free_bytes: Callable[[], int]) -> Exception:
    """The error for a runner that ended in mid-job."""
    if free_bytes() < LEAST_FREE:
        return UserError(
            f"{device.serial}: its disk is full, so the job stopped; make room and run it again: "
            "what was measured is kept"
        )
    return DeviceLost(f"{device.serial}: {runner.why()} before the job was done")
