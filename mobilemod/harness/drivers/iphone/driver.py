"""An iPhone or iPad with the app of apps/ios (docs/harness-iphone.md). It never met one here."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.harness.drivers import DeviceLost, Driver, JobFolder, Receive, Resume
from mobilemod.harness.drivers.following import End, pause, whole_lines
from mobilemod.harness.drivers.iphone.devicectl import DeviceCtl, has_devicectl
from mobilemod.harness.drivers.iphone.mobiledevice import MobileDevice
from mobilemod.harness.drivers.iphone.placement import placement_by_file
from mobilemod.harness.drivers.iphone.tools import Phone, Tool

# What of a job is on the phone: path -> sha256. Beside the job, so that the app need not know it.
HELD = "Documents/jobs/held.json"


@dataclass(frozen=True)
class Pace:
    """Seconds. poll: between looks at the stream, each of which copies all of it. silence: after
    which the app counts as gone; compiling a model on the phone can take minutes."""

    poll: float = 5.0
    silence: float = 300.0


def create(device_id: str | None) -> IPhoneDriver:
    """The driver of one phone, by its UDID, or of the only one."""
    return IPhoneDriver(device_id)


class IPhoneDriver(Driver):
    """One iPhone or iPad. Its app preprocesses the images itself, Core ML chooses its threads."""

    # Core ML's compute units; ExecuTorch's files say themselves what runs them.
    runs = {
        "coreml": ("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only"),
        "executorch": ("xnnpack",),
        "executorch:coreml": ("coreml",),
    }

    def __init__(self, udid: str | None, tool: Tool | None = None, pace: Pace = Pace()) -> None:
        self._wanted, self._tool, self._pace = udid, tool, pace
        self._phone: Phone | None = None
        self._offsets: dict[str, int] = {}
        self._states: dict[str, dict[str, Any]] = {}

    def check(self) -> None:
        """Raises `UserError` where there is no tool, no phone, or more than one."""
        try:
            self._tool = self._tool or find_tool()
            self._phone = choose(self._tool.phones(), self._wanted)
        except DeviceLost as error:
            raise UserError(f"{error}; connect the phone and unlock it") from None

    def extra(self, folder: JobFolder) -> dict[str, dict[str, Any]]:
        """Of each file: the battery before and after, and on a Mac where its ops ran."""
        self._checked()
        found = placement_by_file(folder, self._phone.udid)
        phone = self._states.get(folder.job.id)
        return {
            f.name: {**({"phone": phone} if phone else {}), **found.get(f.name, {})}
            for f in folder.job.files
        }

    def _checked(self) -> tuple[Tool, Phone]:
        if self._tool is None or self._phone is None:
            self.check()
        assert self._tool is not None and self._phone is not None
        return self._tool, self._phone

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        """Push what changed, start the app, hand on what it writes until it is done."""
        tool, phone = self._checked()
        udid, job = phone.udid, folder.job.id
        stream = Stream(tool, udid, job, self._offsets.get(job, 0))
        # What an earlier start left counts; only what it lacks is run.
        stream.hand_on(receive)
        stream.end.forget_runs()
        count = push(tool, udid, folder)
        print(f"{phone.name}: {count} files pushed by {tool.name}", file=sys.stderr)
        before = tool.temperature_and_battery(udid)
        tool.launch(udid, job)
        try:
            self._follow(stream, receive)
        finally:
            self._offsets[job] = stream.offset
        after = tool.temperature_and_battery(udid)
        if before or after:
            self._states[job] = {"before": before, "after": after}

    def _follow(self, stream: Stream, receive: Receive) -> None:
        heard = time.monotonic()
        while not stream.end.reached:
            pause(receive, self._pace.poll)
            if stream.hand_on(receive):
                heard = time.monotonic()
            elif time.monotonic() - heard > self._pace.silence:
                raise DeviceLost(
                    f"the app on {self._phone.name} has said nothing for {self._pace.silence:.0f} "
                    "s: ended by iOS, or the phone is locked"
                )


def find_tool() -> Tool:
    """devicectl where Xcode is, else pymobiledevice3; `UserError` where there is neither."""
    if sys.platform == "darwin" and shutil.which("xcrun") and has_devicectl():
        return DeviceCtl()
    if importlib.util.find_spec("pymobiledevice3") is not None:
        return MobileDevice()
    raise UserError(
        "no way to an iPhone: 'pip install mobilemod[iphone]' (pymobiledevice3), or Xcode 15 on a "
        "Mac; or measure in its browser: --device browser"
    )


def choose(phones: Sequence[Phone], udid: str | None) -> Phone:
    """The phone that is meant; `UserError`, one line, for none or several."""
    known = [p for p in phones if udid in (None, p.udid)]
    if len(known) == 1:
        return known[0]
    if known:
        names = ", ".join(f"{p.udid} ({p.name})" for p in known)
        raise UserError(
            f"{len(known)} phones are connected: {names}; choose one: "
            f"--device iphone:{known[0].udid}"
        )
    which = f"no iPhone {udid}" if udid else "no iPhone"
    raise UserError(
        f"{which} is connected; connect it by cable, unlock it, trust this computer and turn on "
        "developer mode"
    )


def push(tool: Tool, udid: str, folder: JobFolder) -> int:
    """Bring the files of the job that the phone doesn't hold; their number.

    The app checks every hash itself before it runs the job.
    """
    job = folder.job.id
    held = read_held(tool, udid).get(job, {})
    wanted = folder.files()
    hashes = {name: file_sha256(file) for name, file in wanted.items()}
    changed = [name for name, sha256 in hashes.items() if held.get(name) != sha256]
    with tempfile.TemporaryDirectory(prefix="mobilemod-iphone-") as temporary:
        if changed:
            staged = Path(temporary, job)
            for name in changed:
                place(wanted[name], staged / name)
            tool.push(udid, staged, f"Documents/jobs/{job}")
        # Last: what it names is there.
        note = Path(temporary, "note", "jobs")
        note.mkdir(parents=True)
        (note / "held.json").write_text(json.dumps({job: hashes}), "utf-8")
        tool.push(udid, note, "Documents/jobs")
    return len(changed)


def read_held(tool: Tool, udid: str) -> dict[str, dict[str, str]]:
    """What an earlier push noted; nothing where the note is missing or damaged."""
    with tempfile.TemporaryDirectory(prefix="mobilemod-iphone-") as temporary:
        path = Path(temporary, "held.json")
        if not tool.pull(udid, HELD, path):
            return {}
        try:
            values = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError):
            return {}
    jobs = values.items() if isinstance(values, dict) else ()
    return {job: hashes for job, hashes in jobs if isinstance(hashes, dict)}


def place(source: Path, target: Path) -> None:
    """A file under another name: a hard link, a copy where there can be none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class Stream:
    """The app's stream of one job, copied here as a whole and handed on from an offset."""

    def __init__(self, tool: Tool, udid: str, job: str, offset: int) -> None:
        self.tool, self.udid, self.job, self.offset = tool, udid, job, offset
        self.end = End(job)

    def hand_on(self, receive: Receive) -> bool:
        """Pass on what is new; whether there was anything."""
        with tempfile.TemporaryDirectory(prefix="mobilemod-iphone-") as temporary:
            path = Path(temporary, "stream.jsonl")
            if not self.tool.pull(self.udid, f"Documents/records/{self.job}.jsonl", path):
                return False
            data = path.read_bytes()
        # A shorter one than before is a new one.
        start = self.offset if len(data) >= self.offset else 0
        new = whole_lines(data[start:])
        self.offset = start + len(new)
        if new:
            receive(new)
            self.end.note(new)
        return bool(new)
