"""Android devices over adb: the real client, the app's harness activity (docs/harness-adb.md)."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import only_one
from mobilemod.harness.drivers import DeviceLost, Driver, JobFolder, Receive, Resume
from mobilemod.harness.drivers.adb.client import RESTART, Adb, Device, choose, find_program
from mobilemod.harness.drivers.adb.runners import JobRunner, ended, find_runner
from mobilemod.harness.drivers.adb.settings import hints, steady
from mobilemod.harness.drivers.adb.state import read_state, wait_until_cool
from mobilemod.harness.drivers.adb.store import Store
from mobilemod.harness.drivers.bounded import whole
from mobilemod.harness.drivers.following import End, pause, whole_lines
from mobilemod.harness.protocol.job import MAX_THREADS

FOLDER = "/data/local/tmp/mobilemod"
# Either is 1 on Google's emulators.
EMULATED = ("ro.kernel.qemu", "ro.boot.qemu")
# Names the job that a device is at, in the harness's folder there.
MARK = 'if [ -f "$1/running" ]; then cat "$1/running"; fi'
SET_MARK = 'printf "%s" "$2" >"$1/running"'
BLOCK = 4 << 20
# "SIZE" of the stream (-1: not there), newline, then its bytes from the ($2 + 1)th, at most $3.
LOOK = """
size=$(stat -c %s "$1" 2>/dev/null) || size=-1
echo "$size"
if [ "$size" -gt "$2" ]; then tail -c "+$4" "$1" | head -c "$3"; fi
exit 0
"""


@dataclass(frozen=True)
class Pace:
    """Seconds. poll: between looks at the stream. patience: for a device that is gone to come back.
    grace: for a started runner to show itself. silence: of one that runs, after which it counts as
    stuck. cooling: at most, before a timed job."""

    poll: float = 2.0
    patience: float = 120.0
    grace: float = 20.0
    silence: float = 300.0
    cooling: float = 600.0


@dataclass
class Follower:
    """A stream that grows on the device, however often following it is interrupted.

    path: on the device. offset: bytes that were handed on. It is looked at every few seconds and
    not held open: a transfer that runs all the time would take processor time from what is being
    measured.
    """

    device: Device
    path: str
    end: End
    offset: int = 0

    def take(self) -> bytes:
        """The next lines, up to `BLOCK` bytes; empty where there is nothing new.

        Raises `DeviceLost` where the device is gone or answers no such thing.
        """
        done = self.device.script(
            LOOK, self.path, str(self.offset), str(BLOCK), str(self.offset + 1)
        )
        head, newline, data = done.stdout.partition(b"\n")
        try:
            size = int(head.decode("ascii"))
        except ValueError:
            raise DeviceLost(f"{self.device.serial} answers no size of the stream") from None
        if size < self.offset and size >= 0:
            # The app began a new file: whatever is in it is new.
            self.offset = 0
            return b""
        data = whole_lines(data)
        self.offset += len(data)
        return data


def create(device_id: str | None) -> AdbDriver:
    """The driver of one device: its serial or address, or the only one."""
    return AdbDriver(device_id)


class AdbDriver(Driver):
    """One Android device. `latency` and `most_threads` hold after `check`."""

    most_threads = 8

    def __init__(self, serial: str | None, pace: Pace = Pace()) -> None:
        self._serial, self._pace = serial, pace
        self._device: Device | None = None
        self._runner: JobRunner | None = None
        self._phone: dict[str, dict[str, Any]] = {}
        self._followers: dict[str, Follower] = {}

    # -- what the harness asks before

    def check(self) -> None:
        """Raises `UserError` where no device can be used, several could be meant, or none of what
        runs a job is on it."""
        adb = Adb(find_program())
        if self._serial and ":" in self._serial:
            adb.connect(self._serial)
        self._device = Device(adb, choose(adb.devices(), self._serial).serial)
        try:
            self._runner = find_runner(self._device, FOLDER)
            emulated = "1" in (self._device.run("getprop", name).text for name in EMULATED)
            cores = whole(self._device.run("nproc").text, MAX_THREADS)
        except DeviceLost as error:
            raise UserError(f"{error}; {RESTART}") from None
        # On an emulated processor times mean nothing, and one thread is all there is.
        self.latency = not emulated
        if emulated:
            self.most_threads = 1
        elif cores:
            self.most_threads = cores

    @property
    def runs(self) -> Mapping[str, tuple[str, ...]]:
        return self._checked()[1].runs

    def _checked(self) -> tuple[Device, JobRunner]:
        if self._device is None or self._runner is None:
            self.check()
        assert self._device is not None and self._runner is not None
        return self._device, self._runner

    # -- the job

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        """Bring the job, start it or find it running, and hand on what it writes to its end."""
        device, runner = self._checked()
        job = folder.job.id
        timed = folder.job.latency is not None or folder.job.sustained_seconds > 0
        self._await(device, receive)
        fresh = Follower(device, runner.stream(job), End(job))
        follower = self._followers.setdefault(job, fresh)
        store = Store(device, FOLDER)
        device.run("mkdir", "-p", FOLDER)
        with only_this_process(device), steady(device, FOLDER, say):
            if not self._at_it(follower, runner, job, receive):
                runner.stop()
                # What an earlier start left there counts; only what it lacks is run.
                self._collect(follower, receive)
                follower.end.forget_runs()
                pushed = store.bring(folder, runner.luggage())
                say(f"{device.serial}: {pushed / 1e6:.1f} MB pushed")
                if timed:
                    self._prepare(device, job, receive)
                device.script(SET_MARK, FOLDER, job)
                runner.start(job, store.job_path(job))
            with self._stopping(runner):
                self._follow(follower, runner, store, receive)
            if timed and job in self._phone:
                self._phone[job]["after"] = read_state(device).to_dict()
            device.run("rm", "-f", runner.stream(job), f"{FOLDER}/running")
            del self._followers[job]

    def extra(self, folder: JobFolder) -> dict[str, dict[str, Any]]:
        """Of each file: the phone before and after a timed job, and what would have helped."""
        phone = self._phone.get(folder.job.id)
        return {} if phone is None else {f.name: {"phone": phone} for f in folder.job.files}

    def _await(self, device: Device, receive: Receive) -> None:
        """Until the device can be used: a cable that was out may come back."""
        ends = time.monotonic() + self._pace.patience
        while True:
            if ":" in device.serial:  # an address
                device.adb.connect(device.serial)
            state = device.state()
            if state == "device":
                return
            if time.monotonic() > ends:
                raise DeviceLost(f"{device.serial} is {state} and didn't come back")
            pause(receive, min(1.0, self._pace.poll))

    def _at_it(self, follower: Follower, runner: JobRunner, job: str, receive: Receive) -> bool:
        """Whether the device is at this job still, or came to its end while nobody looked."""
        if follower.device.script(MARK, FOLDER).text != job:
            return False
        alive = runner.alive()
        self._collect(follower, receive)
        return alive or follower.end.reached

    def _prepare(self, device: Device, job: str, receive: Receive) -> None:
        found = hints(device)
        for hint in found:
            say(f"{device.serial}: {hint}")
        state = wait_until_cool(device, say, self._pace.cooling, partial(pause, receive))
        say(f"{device.serial}: {state.line()}")
        self._phone[job] = {"hints": found, "before": state.to_dict(), "after": None}

    def _collect(self, follower: Follower, receive: Receive) -> bool:
        """Hand on all that is there; whether there was anything."""
        any_ = False
        while data := follower.take():
            receive(data)
            follower.end.note(data)
            any_ = True
        return any_

    def _follow(
        self, follower: Follower, runner: JobRunner, store: Store, receive: Receive
    ) -> None:
        """Until the job's end; `DeviceLost` where the device goes, or the runner ends before."""
        shown, heard = False, time.monotonic()
        while not follower.end.reached:
            alive = runner.alive()
            # Looked at after that: what it wrote last is not missed.
            came = self._collect(follower, receive)
            if follower.end.reached:
                return
            shown, now = shown or alive or came, time.monotonic()
            heard = now if came else heard
            if not alive and (shown or now - heard > self._pace.grace):
                raise ended(follower.device, runner, store.free_bytes)
            if alive and now - heard > self._pace.silence:
                runner.stop()
                silence = f"{self._pace.silence:.0f} s"
                raise DeviceLost(f"{follower.device.serial}: nothing was said for {silence}")
            pause(receive, self._pace.poll)

    @contextlib.contextmanager
    def _stopping(self, runner: JobRunner) -> Iterator[None]:
        """The runner doesn't go on where the user stopped, and isn't left behind at the end. With
        the device gone it does go on, and is found again."""
        try:
            yield
        except DeviceLost:
            raise
        except BaseException:
            with contextlib.suppress(DeviceLost):
                runner.stop()
            raise
        with contextlib.suppress(DeviceLost):
            runner.stop()


@contextlib.contextmanager
def only_this_process(device: Device) -> Iterator[None]:
    """Two harnesses at one phone would ruin each other's numbers: the second is told so."""
    name = "".join(c if c.isalnum() else "_" for c in device.serial)
    folder = Path(tempfile.gettempdir(), f"mobilemod-adb-{name}")
    folder.mkdir(exist_ok=True)
    with only_one(folder, "measuring on this phone, see"):
        yield


def say(text: str) -> None:
    """A line for the user, beside the result."""
    print(text, file=sys.stderr)
