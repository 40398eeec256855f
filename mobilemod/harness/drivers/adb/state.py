"""What a phone says about its heat, battery and clocks, by the commands that every Android has."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mobilemod.harness.drivers.adb.client import Device
from mobilemod.harness.drivers.bounded import whole

# PowerManager.THERMAL_STATUS_NONE … SHUTDOWN in the protocol's words.
THERMAL_STATUS = ("nominal", "fair", "serious", "serious", "critical", "critical", "critical")
WAIT_SECONDS, WAIT_STEP = 600.0, 10.0

_STATUS = re.compile(r"^\s*Thermal Status:\s*(\d)\s*$", re.MULTILINE)
_BATTERY = re.compile(r"^\s*(level|scale|temperature|status):\s*(-?\d{1,9})\s*$", re.MULTILINE)
# BatteryManager.BATTERY_STATUS_CHARGING and _FULL.
_CHARGING = (2, 5)

# One line "NAME VALUE…" for each thing that can be read without root.
READ = """
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/type" ] && [ -r "$zone/temp" ] || continue
  read -r type <"$zone/type" && read -r temp <"$zone/temp" && echo "zone $temp $type"
done 2>/dev/null
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  folder=$cpu/cpufreq
  [ -r "$folder/scaling_governor" ] && read -r governor <"$folder/scaling_governor" || continue
  read -r now <"$folder/scaling_cur_freq" || now=-
  read -r most <"$folder/cpuinfo_max_freq" || most=-
  echo "cpu ${cpu##*/cpu} $governor $now $most"
done 2>/dev/null
exit 0
"""


@dataclass(frozen=True)
class State:
    """thermal: the protocol's word or None. temperature_c: the battery's. zones: °C by name.
    governors, frequencies_hz, max_frequencies_hz: by core, None where the phone doesn't say."""

    thermal: str | None
    temperature_c: float | None
    battery: dict[str, Any] | None
    zones: dict[str, float]
    governors: dict[int, str]
    frequencies_hz: dict[int, int | None]
    max_frequencies_hz: dict[int, int | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return json.loads(json.dumps(asdict(self)))

    def line(self) -> str:
        """For people."""
        parts = [f"thermal state {self.thermal or 'unknown'}"]
        if self.battery is not None:
            level, charging = self.battery["level"], self.battery["charging"]
            parts.append(f"battery {level:.0%}{' charging' if charging else ''}")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.1f} °C")
        if self.governors:
            parts.append(f"governor {', '.join(sorted(set(self.governors.values())))}")
        return ", ".join(parts)


def read_state(device: Device) -> State:
    """Ask the phone. What it doesn't say, or says in no known form, is left out."""
    thermal = parse_thermal(device.run("dumpsys", "thermalservice").text)
    temperature, battery = parse_battery(device.run("dumpsys", "battery").text)
    return State(thermal, temperature, battery, *parse_sysfs(device.script(READ).text))


def parse_thermal(text: str) -> str | None:
    """The state in what `dumpsys thermalservice` prints (Android 10 and later)."""
    found = _STATUS.search(text)
    status = int(found[1]) if found else len(THERMAL_STATUS)
    return THERMAL_STATUS[status] if status < len(THERMAL_STATUS) else None


def parse_battery(text: str) -> tuple[float | None, dict[str, Any] | None]:
    """(°C, {"level" 0…1, "charging"}) in what `dumpsys battery` prints."""
    values = {name: int(number) for name, number in _BATTERY.findall(text)}
    tenths, level, scale = values.get("temperature"), values.get("level"), values.get("scale")
    temperature = tenths / 10 if tenths is not None else None
    if level is None or not scale or not 0 <= level <= scale:
        return temperature, None
    return temperature, {"level": level / scale, "charging": values.get("status") in _CHARGING}


def parse_sysfs(text: str):
    """(zones, governors, frequencies, maxima) of the lines that `READ` prints."""
    zones: dict[str, float] = {}
    governors: dict[int, str] = {}
    now: dict[int, int | None] = {}
    most: dict[int, int | None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0] == "zone" and _whole(words[1]):
            zones[" ".join(words[2:])[:64]] = int(words[1]) / 1000
        elif len(words) == 5 and words[0] == "cpu" and (core := whole(words[1], 1023)) is not None:
            governors[core] = words[2][:32]
            khz = [whole(w) for w in words[3:]]
            now[core], most[core] = (None if k is None else 1000 * k for k in khz)
    return zones, governors, now, most


def _whole(word: str) -> bool:
    return whole(word.removeprefix("-"), 10**9) is not None


def wait_until_cool(
    device: Device,
    say: Callable[[str], None],
    most_seconds: float = WAIT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> State:
    """Wait until the phone is no longer throttled, at most so long; its state then.

    A phone that doesn't say how it is isn't waited for.
    """
    state, waited = read_state(device), 0.0
    while state.thermal not in (None, "nominal") and waited < most_seconds:
        say(f"{device.serial} is hot ({state.line()}); waiting until it has cooled")
        sleep(WAIT_STEP)
        waited += WAIT_STEP
        state = read_state(device)
    if state.thermal not in (None, "nominal"):
        say(f"{device.serial} is still {state.thermal} after {waited:.0f} s; going on")
    return state
