"""Settings of a phone that would ruin numbers: changed for a job, and put back whatever happens.

What they were is written to the phone before anything is changed, so that the next run puts back
what a killed one left, and a second change never overwrites the user's own values.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb.client import Device
from mobilemod.harness.drivers.bounded import last_line

# (namespace, key) -> while a job runs. The screen stays on by any power source, and for 30 minutes
# without one: with the screen off, Android slows an app down or stops it.
WANTED = {
    ("global", "stay_on_while_plugged_in"): "15",
    ("system", "screen_off_timeout"): "1800000",
}
UNSET = "null"
_VALUE = re.compile(r"[A-Za-z0-9._:-]{0,64}\Z")

SAVE = 'printf "%s" "$2" >"$1.new" && mv -f "$1.new" "$1"'
LOAD = 'if [ -f "$1" ]; then cat "$1"; fi'


@dataclass(frozen=True)
class Saved:
    """settings: value by (namespace, key), "null" where it isn't set. awake: the screen was on."""

    settings: dict[tuple[str, str], str]
    awake: bool

    def dump(self) -> str:
        """As the phone keeps it."""
        values = [[namespace, key, value] for (namespace, key), value in self.settings.items()]
        return json.dumps({"settings": values, "awake": self.awake})


def parse_saved(text: str) -> Saved | None:
    """What `dump` wrote; None for anything else. Keys that aren't ours are left out."""
    try:
        values = json.loads(text)
        settings = {(n, k): v for n, k, v in values["settings"] if (n, k) in WANTED and good(v)}
        return Saved(settings, bool(values["awake"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def good(value: object) -> bool:
    """Whether a setting's value can be put back as it is."""
    return isinstance(value, str) and _VALUE.match(value) is not None


@contextlib.contextmanager
def steady(device: Device, folder: str, say: Callable[[str], None]) -> Iterator[None]:
    """Screen on and staying on within the block; the phone as it was after it, errors or not.

    folder: the harness's on the phone, which exists. Where the phone is gone at the end, what to
    do is said, and the next run does it.
    """
    path = f"{folder}/settings.json"
    saved = parse_saved(device.script(LOAD, path).text) or read_settings(device)
    device.script(SAVE, path, saved.dump())
    try:
        for (namespace, key), value in WANTED.items():
            if (namespace, key) not in saved.settings:
                continue
            done = device.run("settings", "put", namespace, key, value)
            if done.status:
                say(
                    f"{device.serial}: {key} can't be set ({last_line(done.stderr)}); keep it awake"
                )
        device.run("input", "keyevent", "KEYCODE_WAKEUP")
        yield
    finally:
        put_back(device, path, saved, say)


def read_settings(device: Device) -> Saved:
    """The values now. One that couldn't be put back is left out, and so never changed."""
    settings = {}
    for namespace, key in WANTED:
        done = device.run("settings", "get", namespace, key)
        if done.status == 0 and good(done.text) and done.text:
            settings[namespace, key] = done.text
    power = device.run("dumpsys", "power").text
    return Saved(settings, "mWakefulness=Asleep" not in power)


def put_back(device: Device, path: str, saved: Saved, say: Callable[[str], None]) -> None:
    """Every changed setting as it was, then forget them; a phone that is gone is no error."""
    try:
        for (namespace, key), value in saved.settings.items():
            if value == UNSET:
                device.run("settings", "delete", namespace, key)
            else:
                device.run("settings", "put", namespace, key, value)
        if not saved.awake:
            device.run("input", "keyevent", "KEYCODE_SLEEP")
        device.run("rm", "-f", path)
    except DeviceLost as error:
        names = ", ".join(key for _, key in saved.settings)
        say(f"{error}; {names} are not put back yet: connect it, the next run does it")


def hints(device: Device) -> list[str]:
    """What the user may want to change, a line each."""
    found = []
    if device.run("settings", "get", "global", "airplane_mode_on").text == "0":
        found.append("airplane mode is off: radios take processor time and heat the phone")
    if device.run("settings", "get", "global", "low_power").text == "1":
        found.append("battery saver is on: it slows the processor down; turn it off")
    return found
