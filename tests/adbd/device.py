"""Starting and stopping emulated devices and an adb server of their own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobilemod.harness.drivers.adb.client import Adb, Device, choose, find_program

ROOT = Path(__file__).parents[2]


class EmulatedDevice:
    """A running daemon. folder: `root/` in it is the device's file system. address: a serial."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.adbd", "--folder", str(folder), *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(f"the emulated device didn't start, exit {self.process.wait()}")

    def path(self, name: str) -> Path:
        """Where a file of the device is on this machine."""
        return self.folder / "root" / name.lstrip("/")

    def order(self, **fault: Any) -> dict[str, Any]:
        """Tell the daemon a fault (faults.py); its counts."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.folder / "control"))
            s.sendall(json.dumps(fault).encode() + b"\n")
            return json.loads(s.makefile().readline())

    def calls(self) -> list[str]:
        """What Android's services were told, a line each."""
        path = self.path("/data/system/calls")
        return path.read_text().splitlines() if path.exists() else []

    def setting(self, namespace: str, key: str) -> str:
        """A setting's value now, "null" where it isn't set."""
        path = self.path(f"/data/system/settings/{namespace}/{key}")
        return path.read_text().strip() if path.exists() else "null"

    def stop(self) -> None:
        """End the daemon and all that runs on the device."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def emulated(folder: Path, *options: str) -> Iterator[EmulatedDevice]:
    """A device for the block."""
    device = EmulatedDevice(folder, *options)
    try:
        yield device
    finally:
        device.stop()


@contextlib.contextmanager
def adb_server(folder: Path) -> Iterator[dict[str, str]]:
    """An adb server that disturbs no other, used by this process within the block.

    Yields what it adds to the environment.
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    own = {
        "ANDROID_ADB_SERVER_PORT": port,
        "ANDROID_USER_HOME": str(folder),
        # No looking around for devices of others.
        "ADB_MDNS": "0",
        "ADB_USB": "0",
    }
    before = {key: os.environ.get(key) for key in own}
    os.environ.update(own)
    program = str(find_program())
    try:
        subprocess.run([program, "start-server"], check=True, capture_output=True)
        yield own
    finally:
        subprocess.run([program, "kill-server"], capture_output=True)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def plug(phone: EmulatedDevice) -> Device:
    """Connect a device that is running; as the drivers see it. Just after a cable was out, adb may
    have it as offline for a moment."""
    adb = Adb(find_program())
    ends = time.monotonic() + 5
    while True:
        adb.connect(phone.address)
        listed = adb.devices()
        offline = any(d.serial == phone.address and d.state == "offline" for d in listed)
        if not offline or time.monotonic() > ends:
            return Device(adb, choose(listed, phone.address).serial)
        time.sleep(0.1)


def can_emulate() -> str | None:
    """Why no device can be emulated here, or None."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return "the emulated device needs Linux with unshare"
    try_ = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(try_, capture_output=True).returncode:
        return "this system allows no user namespaces, which the emulated device lives in"
    return None
