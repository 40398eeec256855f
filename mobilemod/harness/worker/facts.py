"""What a Linux or macOS machine says of itself; what it doesn't say is None."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

SYS, PROC = Path("/sys"), Path("/proc")


def device_facts(kind: str) -> dict[str, Any]:
    """`hello`'s `device`."""
    return {
        "kind": kind,
        "model": _read(SYS / "devices/virtual/dmi/id/product_name") or _android_model(),
        "os": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_total(),
    }


def state() -> dict[str, Any]:
    """`state`'s values."""
    return {
        "thermal": None,
        "temperature_c": temperature(),
        "battery": battery(),
        "memory_bytes": resident_bytes(),
        "frequencies_hz": frequencies(),
    }


def processor(cpuinfo: Path = PROC / "cpuinfo") -> str:
    """The processor's name as the system tells it; of an ARM one its implementer and part."""
    fields = {}
    for line in (_read(cpuinfo) or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    if fields.get("model name"):
        return fields["model name"]
    if fields.get("CPU part"):
        parts = f"implementer {fields.get('CPU implementer')}, part {fields['CPU part']}"
        return f"{fields.get('Hardware') or 'ARM'} ({parts})"
    return platform.processor() or platform.machine()


def temperature(zones: Path = SYS / "class/thermal") -> float | None:
    """Degrees Celsius, of the hottest thermal zone of a processor, else of any."""
    found: list[tuple[bool, float]] = []
    for zone in sorted(zones.glob("thermal_zone*")):
        value = _whole(zone / "temp")
        if value is not None and 0 < value < 200_000:
            kind = (_read(zone / "type") or "").lower()
            found.append(("cpu" in kind or "pkg" in kind, value / 1000))
    chosen = [t for is_cpu, t in found if is_cpu] or [t for _, t in found]
    return max(chosen, default=None)


def battery(supplies: Path = SYS / "class/power_supply") -> dict[str, Any] | None:
    """`level` 0…1 and `charging`."""
    for supply in sorted(supplies.glob("*")):
        level = _whole(supply / "capacity")
        if level is not None and _read(supply / "type") == "Battery":
            charging = _read(supply / "status") in ("Charging", "Full")
            return {"level": level / 100, "charging": charging}
    return None


def frequencies(cpus: Path = SYS / "devices/system/cpu") -> list[int] | None:
    """The cores' frequencies now, in Hz."""
    found = [_whole(p) for p in sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    return [1000 * f for f in found if f is not None] or None


def resident_bytes(status: Path = PROC / "self/statm") -> int | None:
    """This process's resident memory."""
    text = _read(status)
    if text:
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _memory_total() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _android_model() -> str | None:
    text = _read(Path("/proc/device-tree/model"))
    return text.rstrip("\0") if text else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip() or None
    except OSError:
        return None


def _whole(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text and text.lstrip("-").isdigit() else None
