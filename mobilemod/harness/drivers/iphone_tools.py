"""The two ways to an iPhone's app: Xcode's `devicectl` on a Mac, `pymobiledevice3` from any host.

Both are programs that are called with words, never through a shell. Neither has met a phone here.
`devicectl` writes its answers as JSON to a file, as `--json-output` documents (its printed text is
not meant to be read by programs); both of the layouts that it has had for a device are read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.bounded import last_line, printable, run_bounded

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


# -- devicectl


class DeviceCtl:
    """`xcrun devicectl`, part of Xcode 15 and later."""

    name = "devicectl"

    def phones(self) -> list[Phone]:
        """iPhones and iPads that devicectl can reach."""
        return parse_devices(self._call(["list", "devices"], LISTING))

    def push(self, udid: str, folder: Path, target: str) -> None:
        self._copy("to", udid, str(folder), target)

    def pull(self, udid: str, source: str, target: Path) -> bool:
        with contextlib.suppress(Absent):
            self._copy("from", udid, source, str(target))
        return target.is_file()

    def _copy(self, direction: str, udid: str, source: str, destination: str) -> None:
        container = ["--domain-type", "appDataContainer", "--domain-identifier", BUNDLE_ID]
        ends = ["--source", source, "--destination", destination]
        self._call(["device", "copy", direction, "--device", udid, *container, *ends], COPY)

    def launch(self, udid: str, job: str) -> None:
        options = ["--device", udid, "--terminate-existing"]
        app = [BUNDLE_ID, JOB_ARGUMENT, job]
        self._call(["device", "process", "launch", *options, *app], LAUNCH, options_at=3)

    def temperature_and_battery(self, udid: str) -> dict[str, Any]:
        """devicectl tells neither; the app's own `state` lines do."""
        return {}

    def _call(self, words: list[str], timeout: float, options_at: int | None = None) -> Any:
        with tempfile.TemporaryDirectory(prefix="mobilemod-devicectl-") as folder:
            path = Path(folder, "answer.json")
            output = ["--quiet", "--json-output", str(path)]
            at = len(words) if options_at is None else options_at
            done = run_bounded(["xcrun", "devicectl", *words[:at], *output, *words[at:]], timeout)
            try:
                answer = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError):
                answer = {}
        if done.status == 0 and isinstance(answer, dict) and "result" in answer:
            return answer["result"]
        said = error_text(answer) or last_line(done.stderr) or last_line(done.stdout)
        raise failure(self.name, said)


def parse_devices(result: Any) -> list[Phone]:
    """`result` of `devicectl list devices`. Simulators, watches and unpaired ones are left out."""
    found = []
    for device in _items(result, "devices"):
        hardware = _first(device, ("hardwareProperties",), ("properties", "hardware"))
        connection = _first(device, ("connectionProperties",), ("properties", "connection"))
        software = _first(device, ("deviceProperties",), ("properties", "software"))
        named = _first(device, ("deviceProperties",), ("properties", "state"))
        if hardware.get("platform") != "iOS" or hardware.get("reality", "physical") != "physical":
            continue
        if connection.get("pairingState", "paired") != "paired":
            continue
        if "unavailable" in (connection.get("tunnelState"), connection.get("state")):
            continue
        version = software.get("osVersionNumber")
        version = version.get("stringValue") if isinstance(version, Mapping) else version
        udid = hardware.get("udid") or device.get("identifier")
        if isinstance(udid, str):
            model = hardware.get("marketingName") or hardware.get("productType")
            name = named.get("name") or device.get("name")
            found.append(Phone(udid, *(_text(v) for v in (name, model, version))))
    return found


def error_text(answer: Any) -> str:
    """The sentences of devicectl's `error`, the outer one first."""
    found: list[str] = []
    error = answer.get("error") if isinstance(answer, dict) else None
    for _ in range(8):
        if not isinstance(error, dict):
            break
        info = error.get("userInfo")
        info = info if isinstance(info, dict) else {}
        for key in ("NSLocalizedDescription", "NSLocalizedFailureReason"):
            value = info.get(key)
            text = value.get("string") if isinstance(value, dict) else value
            if isinstance(text, str) and text not in found:
                found.append(text)
        under = info.get("NSUnderlyingError")
        error = under.get("error") if isinstance(under, dict) else None
    return " ".join(found)


def _items(values: Any, key: str) -> list[dict[str, Any]]:
    items = values.get(key) if isinstance(values, dict) else None
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def _first(values: dict[str, Any], *paths: Sequence[str]) -> dict[str, Any]:
    for path in paths:
        found: Any = values
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return found
    return {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "unknown"


# -- pymobiledevice3


class MobileDevice:
    """`pymobiledevice3`'s command line, as of version 11: an optional package.

    The phone has to be paired; from iOS 17 launching needs its tunnel
    (`sudo pymobiledevice3 remote tunneld`).
    """

    name = "pymobiledevice3"

    def phones(self) -> list[Phone]:
        """Connected by cable."""
        answer = self._json(["usbmux", "list", "--usb"], LISTING)
        found = []
        for device in answer if isinstance(answer, list) else ():
            udid = device.get("UniqueDeviceID") if isinstance(device, dict) else None
            if isinstance(udid, str) and _text(device.get("DeviceClass")) in ("iPhone", "iPad"):
                keys = ("DeviceName", "ProductType", "ProductVersion")
                found.append(Phone(udid, *(_text(device.get(k)) for k in keys)))
        return found

    def push(self, udid: str, folder: Path, target: str) -> None:
        # A folder goes below the target under its own name.
        parent, _, name = target.rpartition("/")
        if folder.name != name:
            raise ValueError(f"{folder} isn't named {name}")
        self._call(["apps", "push", "--documents", BUNDLE_ID, str(folder), parent], COPY, udid)

    def pull(self, udid: str, source: str, target: Path) -> bool:
        with contextlib.suppress(Absent):
            self._call(["apps", "pull", "--documents", BUNDLE_ID, source, str(target)], COPY, udid)
        return target.is_file()

    def launch(self, udid: str, job: str) -> None:
        # One argument, which the tool splits as a shell would: nothing in it needs quotes.
        arguments = f"{BUNDLE_ID} {JOB_ARGUMENT} {job}"
        self._call(["developer", "dvt", "launch", arguments], LAUNCH, udid)

    def temperature_and_battery(self, udid: str) -> dict[str, Any]:
        """From the battery's entry in the phone's I/O registry."""
        return parse_battery(self._json(["diagnostics", "battery", "single"], LISTING, udid))

    def _call(self, words: list[str], timeout: float, udid: str | None = None) -> str:
        device = ["--udid", udid] if udid else []
        done = run_bounded([sys.executable, "-m", "pymobiledevice3", *words, *device], timeout)
        # A line of its log: date, time, host, logger, "ERROR", message. It says so, and may exit
        # with 0 all the same.
        log = done.stderr.decode("utf-8", "replace").splitlines()
        errors = [s.partition(" ERROR ")[2] for s in log if " ERROR " in s]
        if done.status or errors:
            raise failure(self.name, errors[-1] if errors else last_line(done.stderr))
        return done.stdout.decode("utf-8", "replace")

    def _json(self, words: list[str], timeout: float, udid: str | None = None) -> Any:
        try:
            return json.loads(self._call(words, timeout, udid))
        except ValueError:
            raise failure(self.name, f"{' '.join(words)} answers no JSON") from None


def parse_battery(values: Any) -> dict[str, Any]:
    """Temperature in hundredths of a degree, capacity in percent: `IOPMPowerSource`'s."""
    if not isinstance(values, dict):
        return {}
    found: dict[str, Any] = {}
    temperature, capacity = values.get("Temperature"), values.get("CurrentCapacity")
    if isinstance(temperature, int):
        found["temperature_c"] = temperature / 100
    if isinstance(capacity, int) and 0 <= capacity <= 100:
        found["level"] = capacity / 100
    if isinstance(values.get("IsCharging"), bool):
        found["charging"] = values["IsCharging"]
    return found


def find_tool() -> Tool:
    """devicectl where Xcode is, else pymobiledevice3; `UserError` where there is neither."""
    if sys.platform == "darwin" and shutil.which("xcrun") and _has_devicectl():
        return DeviceCtl()
    if importlib.util.find_spec("pymobiledevice3") is not None:
        return MobileDevice()
    raise UserError(
        "no way to an iPhone: 'pip install mobilemod[iphone]' (pymobiledevice3), or Xcode 15 on a "
        "Mac; or measure in its browser: --device browser"
    )


def _has_devicectl() -> bool:
    return run_bounded(["xcrun", "--find", "devicectl"], LISTING).status == 0
