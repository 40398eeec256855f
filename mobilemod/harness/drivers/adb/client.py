"""Google's adb client, as a program: devices, commands on a device, files to it.

A command on a device is a list of words, quoted one by one for the device's shell, or a fixed
script of this package with such words as its `$1`, `$2` …; nothing else ever reaches a shell.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.bounded import Finished, last_line, printable, run_bounded, whole

PROGRAM_VARIABLE = "MOBILEMOD_ADB"
MINUTE = 60.0
# Starting the server and connecting over a network take a few.
SERVER_SECONDS = 20.0
UNKNOWN = "reconnect it, and look at 'adb devices'"
RESTART = "'adb kill-server', reconnect the device, and try again"
_HEADING = "List of devices"
_OTHER_VERSION = re.compile(r"adb server version \(\w+\) doesn't match this client \(\w+\)")
# adb's words for a device that is not there any more, or not yet again.
_GONE = re.compile(
    r"not found|offline|no devices|closed|unauthorized|EOF|connect failed|protocol fault|"
    r"connection reset|broken pipe|cannot connect|failed to (read|get|send)|device still",
    re.IGNORECASE,
)
_FULL = re.compile(r"no space left|disk quota", re.IGNORECASE)
_MODEL = re.compile(r"\bmodel:(\S+)")


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices -l`. state: "device" where it can be used."""

    serial: str
    state: str
    model: str | None


@dataclass(frozen=True)
class Output:
    """What a command on a device wrote and its exit status."""

    stdout: bytes
    stderr: str
    status: int

    @property
    def text(self) -> str:
        """stdout as text without the last newline; bytes that are no UTF-8 replaced."""
        return self.stdout.decode("utf-8", "replace").rstrip("\r\n")


class DiskFull(Exception):
    """The device has no room for a file."""


def find_program() -> Path:
    """adb: MOBILEMOD_ADB, else the one on the path (whose server may be running), else adbutils'.

    Raises `UserError` where there is none.
    """
    named = os.environ.get(PROGRAM_VARIABLE)
    if named:
        if shutil.which(named) is None:
            raise UserError(f"{PROGRAM_VARIABLE}={named}: no such program")
        return Path(named)
    on_path = shutil.which("adb")
    if on_path:
        return Path(on_path)
    # Only the program that lies in adbutils is used; the package itself isn't imported.
    spec = importlib.util.find_spec("adbutils")
    name = "adb.exe" if os.name == "nt" else "adb"
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "binaries" / name
        if program.is_file():
            if not os.access(program, os.X_OK):
                program.chmod(0o755)
            return program
    raise UserError(
        "no adb here: install Android's platform-tools (macOS: brew install "
        "android-platform-tools; Debian, Ubuntu: apt install adb)"
    )


@dataclass(frozen=True)
class Adb:
    """The client program. Its server is started as adb itself does; ANDROID_ADB_SERVER_PORT and
    adb's other variables hold."""

    program: Path

    def call(self, *words: str, timeout: float = MINUTE) -> Finished:
        """Run adb to its end. Raises as `run_bounded`."""
        return run_bounded([str(self.program), *words], timeout)

    def devices(self) -> list[Listed]:
        """What adb knows of. Raises `UserError` where its server can't be started or doesn't
        answer, or the program isn't adb."""
        done = self._ask("devices", "-l")
        said = done.stderr.decode("utf-8", "replace")
        if done.status:
            raise UserError(f"{self.program} devices: {last_line(said)}; {RESTART}")
        if clash := _OTHER_VERSION.search(said):
            # The client has ended that server, and with it what others did there.
            print(
                f"{printable(clash[0])}: two adb on this machine end each other's server; use one: "
                f"{PROGRAM_VARIABLE}=PATH",
                file=sys.stderr,
            )
        text = done.stdout.decode("utf-8", "replace")
        if _HEADING not in text:
            raise UserError(
                f"{self.program} devices answers no list of devices ({last_line(text + said)!r}); "
                f"is it adb? {PROGRAM_VARIABLE}=PATH names another"
            )
        return parse_devices(text)

    def connect(self, address: str) -> None:
        """For a device on the network; a failure shows itself when it is used."""
        self._ask("connect", address)

    def _ask(self, *words: str) -> Finished:
        """Of the server on this machine, which answers at once or hangs."""
        try:
            return self.call(*words, timeout=SERVER_SECONDS)
        except DeviceLost as error:
            command = " ".join(words)
            raise UserError(f"'adb {command}': {error}; {RESTART}") from None


def parse_devices(text: str) -> list[Listed]:
    """The lines of `adb devices -l` that name a device."""
    found = []
    for line in text.splitlines():
        # A state may have a space in it: "no permissions (…); see …".
        serial, _, rest = line.strip().partition(" ")
        if not rest or line.startswith(("*", "List of devices")):
            continue
        rest = rest.strip()
        state = "no permissions" if rest.startswith("no permissions") else rest.split()[0]
        state = printable(state)
        model = _MODEL.search(rest)
        found.append(Listed(printable(serial), state, printable(model[1]) if model else None))
    return found


@dataclass(frozen=True)
class Device:
    """One device of a client. Every method raises `DeviceLost` where it is gone."""

    adb: Adb
    serial: str

    def run(self, *words: str, timeout: float = MINUTE) -> Output:
        """Run a command of these words on the device."""
        return self._shell(shlex.join(words), timeout)

    def script(self, text: str, *arguments: str, timeout: float = MINUTE) -> Output:
        """Run a script of this package, POSIX `sh`, with arguments."""
        return self._shell(shlex.join(["sh", "-c", text, "mobilemod", *arguments]), timeout)

    def _shell(self, command: str, timeout: float) -> Output:
        # adb's own exit status can't be told from the command's, a lost connection not from a
        # failure: what ended by itself says so, on both outputs, each of which may break off alone.
        token = secrets.token_hex(8)
        trailer = f"; s=$?; printf {token}; printf '\\n%s %d' {token} $s >&2"
        words = ("-s", self.serial, "shell", "-n", "-T", command + trailer)
        done = self.adb.call(*words, timeout=timeout)
        stderr, said, status = done.stderr.decode("utf-8", "replace").rpartition(f"\n{token} ")
        code = whole(status.strip())
        if code is None or not said or not done.stdout.endswith(token.encode()):
            why = "" if said else last_line(done.stderr)
            raise DeviceLost(f"{self.serial}: {why or 'the connection broke'}")
        return Output(done.stdout.removesuffix(token.encode()), stderr, code)

    def push(self, sources: Sequence[Path], target: str, timeout: float = 30 * MINUTE) -> None:
        """Copy files into a folder of the device under their own names.

        Raises `DiskFull`, and `UserError` where the device refuses.
        """
        words = ["-s", self.serial, "push", *map(str, sources), f"{target}/"]
        done = self.adb.call(*words, timeout=timeout)
        if done.status == 0:
            return
        said = (done.stderr + b"\n" + done.stdout).decode("utf-8", "replace")
        if _FULL.search(said):
            raise DiskFull
        line = next((s for s in said.splitlines() if "error" in s), last_line(done.stderr))
        if _GONE.search(said) or self.state() != "device":
            raise DeviceLost(f"{self.serial}: {line}")
        raise UserError(f"{self.serial} doesn't take files: {line}")

    def state(self) -> str:
        """adb's word: "device", "offline" …, or "gone"."""
        listed = {d.serial: d.state for d in self.adb.devices()}
        return listed.get(self.serial, "gone")


def choose(devices: Sequence[Listed], serial: str | None) -> Listed:
    """The device that is meant; `UserError`, one line, where none can be used, or several can."""
    known = [d for d in devices if serial in (None, d.serial)]
    usable = [d for d in known if d.state == "device"]
    if len(usable) == 1:
        return usable[0]
    if usable:
        names = ", ".join(f"{d.serial} ({d.model})" if d.model else d.serial for d in usable)
        first = usable[0].serial
        raise UserError(
            f"{len(usable)} devices are connected: {names}; choose one: --device adb:{first}"
        )
    if not known:
        which = f"no device {serial}" if serial else "no device"
        others = ", ".join(d.serial for d in devices)
        raise UserError(
            f"adb sees {which}{'; it sees ' + others if others else ''}; connect it, turn on "
            "USB debugging, and look at 'adb devices'"
        )
    first = known[0]
    raise UserError(f"{first.serial} is {first.state}: {_FIX.get(first.state, UNKNOWN)}")


_FIX = {
    "unauthorized": "unlock it and allow USB debugging from this computer",
    "authorizing": "unlock it, allow USB debugging from this computer, and try again",
    "connecting": "wait a few seconds and try again; if it stays so, reconnect the cable",
    "offline": "reconnect the cable, or restart adb: 'adb kill-server'",
    "detached": "another program has it; 'adb attach', or end that program",
    "no permissions": "add a udev rule for it, or be in the group plugdev; then reconnect it",
    "recovery": "it is in recovery mode; start Android: 'adb reboot', or its menu",
    "rescue": "it is in rescue mode; start Android: 'adb reboot', or its menu",
    "sideload": "it waits for an update to be sent; leave that by its menu and start Android",
    "bootloader": "it is in the bootloader; start Android: 'fastboot reboot', or its menu",
    "host": "it is in host mode; reconnect the cable, or choose file transfer for USB on it",
}
