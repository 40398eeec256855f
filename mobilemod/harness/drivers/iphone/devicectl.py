"""`xcrun devicectl`: an iPhone's app from a Mac.

Its answers are read as JSON from the file of `--json-output`, the one form that it promises to
keep; both of the layouts that it has had for a device are understood.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilemod.harness.drivers.bounded import last_line, run_bounded
from mobilemod.harness.drivers.iphone.tools import (
    BUNDLE_ID,
    COPY,
    JOB_ARGUMENT,
    LAUNCH,
    LISTING,
    Absent,
    Phone,
    failure,
    text_of,
)


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
            found.append(Phone(udid, *(text_of(v) for v in (name, model, version))))
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


def has_devicectl() -> bool:
    """Whether Xcode has it (15 and later)."""
    return run_bounded(["xcrun", "--find", "devicectl"], LISTING).status == 0
