"""The emulated device's root: Android's paths, this machine's programs, the ARM64 Python.

In a mount and process namespace of its own, as an unprivileged user may have: this machine's
`/usr` is there read-only, everything else is below the device's folder, and what the device runs
ends with the daemon. Its `/system/bin` holds tools that Android has, as toybox where that is
installed, and the scripts of shims/ in place of Android's services.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mobilemod.harness.arm64.emulator import load_emulator

PACKAGE = "io.mobilemod.app"
SHIMS = Path(__file__).with_name("shims")
# Those of toybox's tools that Android 8 and later install.
TOOLS = (  # noqa: SIM905
    "cat chmod cp cut date dd df du echo env expr false find getopt grep head id kill ln ls "
    "md5sum mkdir mktemp mv nohup nproc printf ps pwd readlink realpath rm rmdir sed seq setsid "
    "sha256sum sleep sort stat sync tail tee test touch tr true uname uniq wc xargs"
).split()
FILES = {
    "sys/class/thermal/thermal_zone0/type": "battery\n",
    "sys/class/thermal/thermal_zone0/temp": "31000\n",
    "sys/class/thermal/thermal_zone1/type": "cpu-0-0\n",
    "sys/class/thermal/thermal_zone1/temp": "38500\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1804800\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2803200\n",
    "data/system/thermal": "0\n",
    "data/system/battery": "82 310 0\n",
    "data/system/settings/global/stay_on_while_plugged_in": "0\n",
    "data/system/settings/system/screen_off_timeout": "60000\n",
    "data/system/settings/global/airplane_mode_on": "0\n",
    "data/system/screen": "off\n",
}
FOLDERS = ("data/local/tmp", "data/media/0/Android/data", "proc", "dev", "tmp", "usr", "system/bin")


@dataclass(frozen=True)
class Options:
    """python: with the ARM64 Python. app: with the app's stand-in. disk: bytes that `/data` holds,
    0 without limit."""

    name: str = "Emulated Phone"
    python: bool = True
    app: bool = False
    disk: int = 0


def build(folder: Path, options: Options) -> Path:
    """A new device in `folder`, or the one that is there; its root."""
    root = folder / "root"
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in {**FILES, "data/system/props": properties(options)}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink() and not (root / name).is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    # As on a phone: the shared storage lies on the same disk.
    if not (root / "sdcard").is_symlink():
        (root / "sdcard").symlink_to("data/media/0")
    bin_folder = root / "system/bin"
    shutil.rmtree(bin_folder)
    bin_folder.mkdir()
    (bin_folder / "sh").symlink_to(shutil.which("mksh") or "/bin/sh")
    in_toybox = toybox_tools()
    for tool in TOOLS:
        (bin_folder / tool).symlink_to(f"/usr/bin/{'toybox' if tool in in_toybox else tool}")
    for shim in SHIMS.iterdir():
        install(shim.read_text(), bin_folder / shim.name)
    if options.python:
        install(python_script(root), bin_folder / "python3")
    if options.app:
        (root / "data/app" / PACKAGE).mkdir(parents=True, exist_ok=True)
        install(app_script(), root / "data/app" / PACKAGE / "run")
    return root


def app_script() -> str:
    """The app's stand-in: the worker in this machine's Python, the stream where the app has it."""
    python = f"PYTHONPATH='{':'.join(python_folders())}' exec '{sys.executable}'"
    stream = f"/sdcard/Android/data/{PACKAGE}/files/records/${{1##*/}}.jsonl"
    worker = f'-m mobilemod.harness.worker "$1" --kind adb --stream "{stream}"'
    return f"#!/system/bin/sh\n{python} {worker}\n"


def python_folders() -> list[str]:
    """Where this machine's Python finds its modules."""
    return [p for p in map(os.path.abspath, sys.path) if os.path.isdir(p)]


def shown_folders() -> list[Path]:
    """What of this machine the app's stand-in needs to see, without what lies within another."""
    wanted = {Path(sys.base_prefix), Path(sys.prefix), *map(Path, python_folders())}
    wanted = {p for p in wanted if not p.is_relative_to("/usr")}
    return sorted(p for p in wanted if not any(o != p and p.is_relative_to(o) for o in wanted))


def toybox_tools() -> set[str]:
    """What this machine's toybox can do: Debian's lacks a few that Android's has."""
    if shutil.which("toybox") is None:
        return set()
    return set(subprocess.run(["toybox"], capture_output=True, text=True).stdout.split())


def install(text: str, path: Path) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def properties(options: Options) -> str:
    return "".join(
        f"{key}={value}\n"
        for key, value in {
            "ro.product.model": options.name,
            "ro.product.manufacturer": "mobilemod",
            "ro.build.version.release": "14",
            "ro.build.version.sdk": "34",
            "ro.soc.model": "Cortex-A76 (QEMU)",
            "ro.product.cpu.abi": "arm64-v8a",
            # As Google's emulators have it; the app's stand-in runs at this machine's own speed.
            "ro.kernel.qemu": "0" if options.app else "1",
        }.items()
    )


def python_script(root: Path) -> str:
    """What runs the ARM64 Python: the root of `make arm64` is mounted at the same path."""
    emulator = load_emulator()
    words = " ".join(f"'{word}'" for word in emulator.python_command([]))
    own = emulator.environment()
    modules = own.pop("PYTHONPATH")
    variables = " ".join(f"{key}='{value}'" for key, value in own.items())
    return f"""#!/system/bin/sh
{variables} PYTHONPATH="{modules}${{PYTHONPATH:+:$PYTHONPATH}}" exec {words} "$@"
"""


def mount(root: Path, options: Options) -> None:
    """Inside the namespaces: mount what the root shows of this machine."""

    def call(*arguments: object) -> None:
        subprocess.run(["mount", *map(str, arguments)], check=True)

    call("--bind", "-o", "ro", "/usr", root / "usr")
    call("-t", "proc", "proc", root / "proc")
    call("--rbind", "/dev", root / "dev")
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_dir() and not Path("/", name).is_symlink():
            (root / name).mkdir(exist_ok=True)
            call("--bind", "-o", "ro", f"/{name}", root / name)
    shown = [load_emulator().folder] if options.python else []
    for folder in [*shown, *(shown_folders() if options.app else [])]:
        target = root / str(folder).lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        call("--bind", "-o", "ro", folder, target)
    if options.disk:
        kept = root.with_name("data.kept")
        shutil.copytree(root / "data", kept, dirs_exist_ok=True)
        call("-t", "tmpfs", "-o", f"size={options.disk}", "data", root / "data")
        shutil.copytree(kept, root / "data", dirs_exist_ok=True)
