"""`pymobiledevice3`: an iPhone's app from any host; an optional package, as of version 11."""

from __future__ import annotations

import contextlib
import json
import sys
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


class MobileDevice:
    """Its command line. The phone has to be paired; from iOS 17 launching needs its tunnel
    (`sudo pymobiledevice3 remote tunneld`)."""

    name = "pymobiledevice3"

    def phones(self) -> list[Phone]:
        """Connected by cable."""
        answer = self._json(["usbmux", "list", "--usb"], LISTING)
        found = []
        for device in answer if isinstance(answer, list) else ():
            udid = device.get("UniqueDeviceID") if isinstance(device, dict) else None
            if isinstance(udid, str) and text_of(device.get("DeviceClass")) in ("iPhone", "iPad"):
                keys = ("DeviceName", "ProductType", "ProductVersion")
                found.append(Phone(udid, *(text_of(device.get(k)) for k in keys)))
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
