"""What the ways to an iPhone's app have in common; neither has met a phone here.

`devicectl.py` is Xcode's, on a Mac; `mobiledevice.py` is pymobiledevice3, from any
host. Both are programs that are called with words, never through a shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.bounded import printable

BUNDLE_ID = "io.mobilemod.app"
JOB_ARGUMENT = "--job"
LISTING, LAUNCH, COPY = 60.0, 120.0, 1800.0
# Of errors that a phone which is there would not give.
_GONE = ("not found", "no device", "not connected", "disconnected", "connection", "timed out",
         "timeout", "tunnel", "unavailable", "usbmuxd", "terminated")  # fmt: skip
_FULL = ("no space", "out of space", "disk is full", "not enough disk")
# A file that the app has not written yet: devicectl's and AFC's words.
_ABSENT = ("file node", "no such file", "object_not_found", "does not exist")


class Absent(UserError):
    """The file that was asked for isn't on the phone."""


@dataclass(frozen=True)
class Phone:
    """udid: its hardware identifier, or the one that the tool knows it by."""

    udid: str
    name: str
    model: str
    os: str


class Tool(Protocol):
    """One way to the app's container; paths are relative to it, such as `Documents/jobs`."""

    name: str

    def phones(self) -> list[Phone]:
        """Connected and usable ones."""

    def push(self, udid: str, folder: Path, target: str) -> None:
        """Copy the contents of a folder to `target`, which is made, or added to."""

    def pull(self, udid: str, source: str, target: Path) -> bool:
        """Copy one file here; False where it isn't there yet."""

    def launch(self, udid: str, job: str) -> None:
        """Start the app on a job; one that runs is ended first."""

    def temperature_and_battery(self, udid: str) -> dict[str, Any]:
        """`temperature_c`, `level` (0…1), `charging`, as far as the tool can say."""


def failure(tool: str, message: str) -> Exception:
    """The error for what a tool said: `DeviceLost` where trying again may help."""
    text = printable(" ".join(message.split())) or "it failed without a word"
    low = text.lower()
    if any(word in low for word in _ABSENT):
        return Absent(f"{tool}: {text}")
    if any(word in low for word in _FULL):
        return UserError(
            f"{tool}: the phone's disk is full: {text}; free some, or use fewer images"
        )
    if any(word in low for word in _GONE):
        return DeviceLost(f"{tool}: {text}")
    return UserError(f"{tool}: {text}{_hint(low)}")


def _hint(low: str) -> str:
    if "lock" in low:
        return "; unlock the phone"
    if "not installed" in low or "no app with" in low or "applicationlookupfailed" in low:
        return f"; install apps/ios ({BUNDLE_ID}) on it"
    if "developer" in low:
        return "; turn on developer mode in its settings"
    return ""


def text_of(value: Any) -> str:
    """Text of a tool's JSON, whatever stands in its place."""
    return value if isinstance(value, str) else "unknown"
