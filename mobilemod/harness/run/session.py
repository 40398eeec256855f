"""Runs a job on a device to its end: raw lines to disk at once, lost devices tried again.

Folder of a run: `job.json`, `lines.jsonl` (the raw bytes, as they came), `chosen.json` (what was
chosen to be measured). Whatever happens, what was received stands in `lines.jsonl`; everything else
is computed from it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.files import write_json
from mobilemod.harness.drivers import DeviceLost, Driver
from mobilemod.harness.protocol.domains import Domains
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import RESUME_FILE, Job
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import OWN_RUN, Line, Reader, Writer, printable
from mobilemod.manifest import load_bundle
from mobilemod.manifest_schema import Manifest

LINES_FILE = "lines.jsonl"
# Starts in a row that brought nothing new before the harness gives up, and seconds between them.
STALLS, PAUSES = 3, (1.0, 3.0, 10.0)
# As many before a unit that nothing is measured on is given up, which may take the app down.
TEST_STALLS = 1

Say = Callable[[str], None]


class Stopped(Exception):
    """The run was stopped from outside; what was received is on disk."""


@dataclass(frozen=True)
class Result:
    """How a session ended. complete: nothing that the job asks for is missing.

    reason: one line, why it isn't; None where it is. starts: of the job on the device by this
    session. lost: what each lost device said.
    """

    complete: bool
    reason: str | None
    starts: int
    lost: tuple[str, ...]


def read_lines(
    path: Path, job: Job, domains: Domains | None = None
) -> tuple[list[Line], Reader, Held, int]:
    """The new lines of a run in their order, the reader with its counts, what is held, and how
    many lines said what can't be (they are not among the lines). domains: judges them; it counts
    their reasons."""
    reader, held, domains = Reader(job.id), Held(job), domains or Domains(job)
    found: list[Line] = []
    with path.open("rb") if path.is_file() else open(os.devnull, "rb") as f:
        while data := f.read(1 << 20):
            found += reader.feed(data)
        found += reader.close()
    kept = [line for line in found if domains.accept(line) and held.add(line)]
    return kept, reader, held, len(found) - len(kept)


def manifest_of(folder: JobFolder) -> Manifest | None:
    """That of a job; None where it is no bundle's."""
    try:
        return load_bundle(folder.folder, verify=False).manifest
    except (OSError, UserError):
        return None


class Session:
    """One job on one device.

    out: the run's folder. say: told one line at a time what is going on. stop: set from another
    thread to end the run soon.
    """

    def __init__(
        self,
        driver: Driver,
        folder: JobFolder,
        out: Path,
        say: Say = lambda text: None,
        stop: threading.Event | None = None,
        pauses: Sequence[float] = PAUSES,
    ):
        self.driver, self.folder, self.out, self.say = driver, folder, out, say
        self.stop, self.pauses = stop or threading.Event(), pauses
        self.path = out / LINES_FILE
        self._handle = -1
        self._said = 0.0
        self.reader, self.held = Reader(folder.job.id), Held(folder.job)
        self.domains = self._domains()

    def run(self) -> Result:
        """Until everything is there, the device can't go on, or starts bring nothing new.

        Raises `Stopped`, and `OSError` where this machine's disk is full.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.domains = self._domains()
        _, self.reader, self.held, _ = read_lines(self.path, self.folder.job, self.domains)
        self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._end_line()
            return self._starts()
        finally:
            os.close(self._handle)

    def _starts(self) -> Result:
        lost: list[str] = []
        starts = stalls = 0
        while self._open():
            before, self.held.done = self.held.size(), False
            starts += 1
            reason = self._start()
            if reason is not None:
                lost.append(reason)
            if self.held.fatal is not None:
                said = f"the device says: {printable(self.held.fatal)}"
                return Result(False, said, starts, tuple(lost))
            if not self._open():
                break
            progressed = self.held.size() > before
            stalls = 0 if progressed else stalls + 1
            why = reason or ("lines were lost" if self.held.done else "the stream ended early")
            if self.domains.refused:
                (said, count), *_ = self.domains.refused.most_common(1)
                why += f", {self.domains.refused.total()} lines refused ({count} times {said})"
            if stalls >= TEST_STALLS and not self.held.done and self._only_tests_left():
                self._give_up(why)
                stalls = 0
                continue
            if stalls >= STALLS:
                return Result(False, f"{why}; {self._what_is_missing()}", starts, tuple(lost))
            self.say(f"{why}; trying again from where it was")
            self._wait(self.pauses[min(stalls, len(self.pauses) - 1)])
        return Result(True, None, starts, tuple(lost))

    def _start(self) -> str | None:
        """Start the job once; what a lost device said, None where it ended by itself."""
        write_json(self.folder.folder / RESUME_FILE, self.held.resume().to_dict())
        try:
            self.driver.run(self.folder, self.held.resume(), self._receive)
        except DeviceLost as error:
            return printable(error) or "the device is gone"
        finally:
            for line in self.reader.close():
                self._hold(line)
            self._end_line()
        return None

    def _receive(self, data: bytes) -> None:
        if self.stop.is_set():
            raise Stopped
        rest = data
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        for line in self.reader.feed(data):
            if self._hold(line):
                self._tell(line)

    def _hold(self, line: Line) -> bool:
        """Take in what can be; the first line that can't be is said."""
        if self.domains.accept(line):
            return self.held.add(line)
        if self.domains.refused.total() == 1:
            self.say(f"refused a line: {next(iter(self.domains.refused))}")
        return False

    def _domains(self) -> Domains:
        return Domains.of(self.folder.job, manifest_of(self.folder))

    def _tell(self, line: Line) -> None:
        if line.type == "hello":
            self._said = time.monotonic()
            facts = line["device"]
            self.say(f"{printable(facts.get('model') or facts.get('processor'))} answers")
        elif line.type == "error":
            self.say(f"error: {printable(line['message'])}")
        elif line.type == "finished":
            file = self.folder.job.configurations[line["configuration"]].file
            self.say(f"{file}: {line['phase']} finished")
        elif line.type == "image" and time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            answers = sum(map(len, self.held.answered.values()))
            self.say(f"{answers} answers of {self.expected()}")

    def expected(self) -> int:
        """Answers that the job asks for."""
        job = self.folder.job
        return len(job.files) * job.inputs.count if job.accuracy else 0

    def _end_line(self) -> None:
        """A line that was cut off must not swallow the next one."""
        if _cut_off(self.path):
            os.write(self._handle, b"\n")

    def _open(self) -> bool:
        """Whether something is missing that a configuration without an error could give."""
        failed = self.held.failed
        return any(index not in failed for index, _ in self.held.open_phases())

    def _only_tests_left(self) -> bool:
        """Whether all that is left is the self-test of units that nothing is measured on."""
        return all(index in self.folder.job.tested for index, _ in self.held.open_phases())

    def _give_up(self, why: str) -> None:
        """Note in the stream that a unit can't be tested: the one that the device is lost at."""
        index = min(i for i, _ in self.held.open_phases() if i not in self.held.failed)
        message = f"the device was lost at it: {why}"
        Writer(self.folder.job.id, self._receive, run=OWN_RUN, seq=index).line(
            "unavailable", configuration=index, message=message
        )
        c = self.folder.job.configurations[index]
        self.say(f"{c.file} on {c.delegate}: {message}; going on without it")

    def _what_is_missing(self) -> str:
        job = self.folder.job
        phases = sorted(self.held.open_phases())
        named = [f"{job.configurations[i].file} {phase}" for i, phase in phases[:3]]
        more = f" and {len(phases) - 3} more" if len(phases) > 3 else ""
        images = sum(len(self.held.missing(f.name)) for f in job.files)
        return f"missing: {', '.join(named)}{more}; {images} answers"

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped


def _cut_off(path: Path) -> bool:
    """Whether a file ends within a line."""
    with path.open("rb") as f:
        if not f.seek(0, os.SEEK_END):
            return False
        f.seek(-1, os.SEEK_END)
        return f.read(1) != b"\n"


def run_sessions(sessions: Sequence[Session]) -> list[Result | BaseException]:
    """All sessions at once, one thread each; a session's own error stands in its place.

    Ctrl-C stops all of them: each driver cleans up, then `KeyboardInterrupt` is raised.
    """
    if len(sessions) == 1:
        try:
            return [sessions[0].run()]
        except (UserError, OSError) as error:
            return [error]
    with ThreadPoolExecutor(len(sessions)) as pool:
        try:
            futures = [pool.submit(session.run) for session in sessions]
            while not all(f.done() for f in futures):
                time.sleep(0.1)
        except BaseException:
            for session in sessions:
                session.stop.set()
            raise
    return [f.exception() or f.result() for f in futures]
