"""An iPhone or iPad with the app of apps/ios (docs/harness-iphone.md). It never met one here."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.harness.drivers import DeviceLost, JobFolder, Receive, Resume
from mobilemod.harness.drivers.iphone_tools import Phone, Tool, find_tool
from mobilemod.harness.job import JOB_FILE, RESUME_FILE, plain_files
from mobilemod.harness.protocol import Reader

DELEGATES = ("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only")
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


class IPhoneDriver:
    """One iPhone or iPad. Its app preprocesses the images itself."""

    input_kind = "images"
    latency = True
    # Core ML chooses its threads itself.
    most_threads = 1

    def __init__(self, udid: str | None, tool: Tool | None = None, pace: Pace = Pace()) -> None:
        self._wanted, self._tool, self._pace = udid, tool, pace
        self._phone: Phone | None = None
        self._offsets: dict[str, int] = {}

    def check(self) -> None:
        """Raises `UserError` where there is no tool, no phone, or more than one."""
        self._tool = self._tool or find_tool()
        try:
            self._phone = choose(self._tool.phones(), self._wanted)
        except DeviceLost as error:
            raise UserError(f"{error}; connect the phone and unlock it") from None

    def suffixes(self) -> tuple[str, ...]:
        """Core ML's packages."""
        return (".mlpackage",)

    def delegates(self, target: str) -> tuple[str, ...]:
        """Core ML's compute units."""
        return DELEGATES if target == "coreml" else ()

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        """Push what changed, start the app, hand on what it writes until it is done."""
        if self._tool is None or self._phone is None:
            self.check()
        assert self._tool is not None and self._phone is not None
        udid, job = self._phone.udid, folder.job.id
        stream = Stream(self._tool, udid, job, self._offsets.get(job, 0))
        # What an earlier start left counts; only what it lacks is run.
        stream.hand_on(receive)
        stream.forget_runs()
        count = push(self._tool, udid, folder)
        print(f"{self._phone.name}: {count} files pushed by {self._tool.name}", file=sys.stderr)
        self._say_state(udid)
        self._tool.launch(udid, job)
        try:
            self._follow(stream, receive)
        finally:
            self._offsets[job] = stream.offset
        self._say_state(udid)

    def _follow(self, stream: Stream, receive: Receive) -> None:
        heard = time.monotonic()
        while not stream.ended:
            time.sleep(self._pace.poll)
            if stream.hand_on(receive):
                heard = time.monotonic()
            elif time.monotonic() - heard > self._pace.silence:
                raise DeviceLost(
                    f"the app on {self._phone.name} has said nothing for {self._pace.silence:.0f} "
                    "s: ended by iOS, or the phone is locked"
                )

    def _say_state(self, udid: str) -> None:
        values = self._tool.temperature_and_battery(udid)
        if values:
            text = ", ".join(f"{k} {v}" for k, v in values.items())
            print(f"{self._phone.name}: {text}", file=sys.stderr)


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
    wanted = {}
    for name in (JOB_FILE, RESUME_FILE, *(name for name, _ in folder.contents())):
        path = folder.path(name)
        for file in plain_files(path) if path.exists() else ():
            wanted[file.relative_to(folder.folder).as_posix()] = file
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
        self.reader, self.runs, self.earlier = Reader(job), set(), frozenset()
        self.ended = False

    def hand_on(self, receive: Receive) -> bool:
        """Pass on what is new; whether there was anything."""
        with tempfile.TemporaryDirectory(prefix="mobilemod-iphone-") as temporary:
            path = Path(temporary, "stream.jsonl")
            if not self.tool.pull(self.udid, f"Documents/records/{self.job}.jsonl", path):
                return False
            data = path.read_bytes()
        # A shorter one than before is a new one.
        new = data[self.offset :] if len(data) >= self.offset else data
        self.offset = len(data)
        if new:
            receive(new)
            self._note(new)
        return bool(new)

    def _note(self, data: bytes) -> None:
        for line in self.reader.feed(data):
            self.runs.add(line.run)
            fatal = line.type == "error" and line["fatal"]
            if line.run not in self.earlier and (line.type == "done" or fatal):
                self.ended = True

    def forget_runs(self) -> None:
        """Only a later run's end counts."""
        self.earlier, self.ended = frozenset(self.runs), False
