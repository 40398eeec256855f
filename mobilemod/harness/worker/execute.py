"""Runs a job folder in the protocol's order and writes its lines."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mobilemod import __version__
from mobilemod.data.image_file import DamagedImage
from mobilemod.errors import UserError
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import Resume
from mobilemod.harness.protocol.job_folder import JobFolder, load_job, verify_files
from mobilemod.harness.protocol.lines import PROTOCOL, Reader, Writer
from mobilemod.harness.worker import facts
from mobilemod.harness.worker.digest import golden_answer, image_answer
from mobilemod.harness.worker.inputs import Feed
from mobilemod.harness.worker.runtimes import RUNTIMES, Loaded, Unavailable, versions
from mobilemod.harness.worker.timing import Series, run_in_turns, warmed_up
from mobilemod.machine.sharing import measuring

STATE_SECONDS = 5.0
FAILURES_IN_A_ROW = 3


class Refused(Exception):
    """The job can't be run here; a fatal `error` line has been written."""


def execute(
    folder: Path,
    send: Callable[[bytes], None],
    kind: str,
    held: bytes = b"",
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run the job in `folder`, handing every line to `send`.

    kind: as `hello` says it. held: this device's own stream of earlier starts; what stands there of
    the same job isn't run again. clock: monotonic seconds, of lines and of what is timed. Raises
    `Refused` after a fatal `error` line, `UserError` where there is no job that a line could name,
    and what `send` raises.
    """
    job_folder = load_job(folder, verify=False)
    writer = Writer(job_folder.job.id, send, clock)
    writer.line(
        "hello",
        protocol=PROTOCOL,
        device=facts.device_facts(kind),
        app={"name": "mobilemod worker", "version": __version__},
        runtimes=versions(),
        wall=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        verify_files(job_folder)
        feed = Feed(job_folder)
        resume = with_stream(job_folder, held)
    except UserError as error:
        writer.line("error", where="job", message=str(error), fatal=True)
        raise Refused from None
    _Run(job_folder, resume, writer, feed).all()


def with_stream(folder: JobFolder, held: bytes) -> Resume:
    """What `resume.json` and a stream of the same job say is answered and finished."""
    known, reader = Held.after(folder.job, folder.resume()), Reader(folder.job.id)
    for line in [*reader.feed(held), *reader.close()]:
        known.add(line)
    return known.resume()


class _Run:
    """One start of the job. ended: configurations that are not run any further."""

    def __init__(self, folder: JobFolder, resume: Resume, writer: Writer, feed: Feed):
        self.folder, self.job, self.resume = folder, folder.job, resume
        self.writer, self.feed = writer, feed
        self.counts: Counter[str] = Counter()
        self.ended: set[int] = set()
        self.unreadable: set[int] = set()
        self.last_state = 0.0

    def all(self) -> None:
        """Everything that isn't finished, then `done`."""
        self._state()
        for index in self.job.measured:
            self._check_and_answer(index)
        with measuring():
            if self.job.latency is not None:
                for group in self.job.timed_groups():
                    self._latency(group)
            if self.job.sustained_seconds:
                for index in self.job.measured:
                    self._sustained(index)
        # Last: a unit that takes the process down costs nothing that is measured.
        for index in self.job.tested:
            self._check_and_answer(index)
        self._state()
        self.writer.line("done", **{k: self.counts[k] for k in ("answered", "timed", "errors")})

    # -- what fails

    def _fail(self, where: str, index: int, error: Exception, image: int | None = None) -> None:
        self.counts["errors"] += 1
        said = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        message = f"{self.job.configurations[index].file}: {said}"
        place = {"configuration": index, "image": image}
        self.writer.line("error", where=where, message=message, **place, fatal=False)

    @contextmanager
    def _ending(self, where: str, index: int) -> Iterator[None]:
        """What fails inside is told and ends the configuration; an `OSError`, the stream's or the
        disk's, ends the run."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            self._end(where, index, error)

    @contextmanager
    def _loading(self, index: int) -> Iterator[None]:
        """As `_ending`; what the device can't run is told as that, and is no error."""
        alone = self.job.configurations[index].self_test_only
        with self._ending("load", index):
            try:
                yield
            except OSError:
                raise
            except Exception as error:
                if not alone and not isinstance(error, Unavailable):
                    raise
                self.ended.add(index)
                message = f"{error}".splitlines()[0][:500] if f"{error}" else type(error).__name__
                self.writer.line("unavailable", configuration=index, message=message)

    def _end(self, where: str, index: int, error: Exception) -> None:
        self._fail(where, index, error)
        self.ended.add(index)

    def _wants(self, index: int, phase: str) -> bool:
        return index not in self.ended and (index, phase) not in self.resume.finished

    # -- loading

    def _load(self, index: int, cold: int) -> Loaded | None:
        """A fresh load and its line; None where it failed. cold: as the line has it."""
        c = self.job.configurations[index]
        file = self.job.file(c.file)
        with self._loading(index):
            if file.target not in RUNTIMES:
                raise Unavailable(f"this device runs no {file.target} files")
            runtime = RUNTIMES[file.target]
            runtime.prepare()
            begin = self.writer.now()
            loaded = runtime.load(self.folder.path(file.path), c.threads, c.delegate)
            seconds = self.writer.now() - begin
            prepared = loaded.prepare(self.feed.timed())
            begin = self.writer.now()
            loaded.infer(prepared)
            self.writer.line(
                "load",
                configuration=index,
                seconds=seconds,
                first_inference_ms=1e3 * (self.writer.now() - begin),
                cold=cold,
                runtime=loaded.description,
                partitions=loaded.partitions,
                fallback=loaded.fallback,
                accelerated=loaded.accelerated,
            )
            return loaded
        return None

    def _cold_starts(self, index: int) -> Loaded | None:
        loaded = None
        for cold in range(1, self._latency_loads() + 1):
            loaded = None  # the one before goes first
            gc.collect()
            loaded = self._load(index, cold)
            if loaded is None:
                return None
        return loaded

    def _latency_loads(self) -> int:
        return 0 if self.job.latency is None else max(1, self.job.latency.cold_starts)

    # -- self-test and accuracy

    def _check_and_answer(self, index: int) -> None:
        first = self.job.first_configuration(self.job.configurations[index].file) == index
        wants_golden = self._wants(index, "golden")
        wants_answers = self.job.accuracy and first and self._wants(index, "accuracy")
        if not wants_golden and not wants_answers:
            return
        loaded = self._load(index, 0)
        if loaded is not None and wants_golden:
            with self._ending("golden", index):
                self._golden(index, loaded)
        if loaded is not None and wants_answers and index not in self.ended:
            self._accuracy(index, loaded)

    def _golden(self, index: int, loaded: Loaded) -> None:
        for number in range(len(self.job.golden)):
            for source, pixels in self.feed.golden(number).items():
                # What an image goes through before it is the same on every unit.
                if self.job.configurations[index].self_test_only and source != "pixels":
                    continue
                outputs = loaded.infer(loaded.prepare(self.feed.normalize(pixels)))
                self.writer.line(
                    "golden",
                    configuration=index,
                    image=number,
                    source=source,
                    **golden_answer(outputs, self.feed.map),
                )
        self._finished(index, "golden")

    def _accuracy(self, index: int, loaded: Loaded) -> None:
        file = self.job.configurations[index].file
        failed = in_a_row = 0
        for image in range(self.job.inputs.count):
            if self.resume.has(file, image) or image in self.unreadable:
                continue
            try:
                if self._answer(index, image, loaded):
                    in_a_row = 0
            except OSError:
                raise
            except Exception as error:
                self._fail("accuracy", index, error, image)
                failed, in_a_row = failed + 1, in_a_row + 1
                if in_a_row == FAILURES_IN_A_ROW:
                    self.ended.add(index)
                    return
            self._state_if_due()
        if not failed:
            self._finished(index, "accuracy")

    def _answer(self, index: int, image: int, loaded: Loaded) -> bool:
        """Write an image's answer, or that it can't be decoded; whether there was an answer."""
        begin = self.writer.now()
        try:
            pixels = self.feed.image(image)
        except DamagedImage as error:
            self.unreadable.add(image)
            self.writer.line("unreadable", image=image, message=str(error))
            return False
        prepared = loaded.prepare(self.feed.normalize(pixels))
        middle = self.writer.now()
        outputs = loaded.infer(prepared)
        end = self.writer.now()
        self.writer.line(
            "image",
            configuration=index,
            image=image,
            **image_answer(outputs, self.feed.map, self.job.logits),
            preprocess_ms=1e3 * (middle - begin),
            inference_ms=1e3 * (end - middle),
        )
        self.counts["answered"] += 1
        return True

    # -- time

    def _latency(self, group: tuple[int, ...]) -> None:
        plan = self.job.latency
        assert plan is not None
        if not any(self._wants(index, "latency") for index in group):
            return
        series = [
            self._series(index, loaded)
            for index in group
            if index not in self.ended and (loaded := self._cold_starts(index)) is not None
        ]
        self._time(
            series,
            "latency",
            {
                "warm-up": lambda seconds: warmed_up(series, plan, seconds),
                "steady": lambda seconds: (
                    seconds >= plan.min_seconds and series[0].count >= plan.min_runs
                ),
            },
        )

    def _sustained(self, index: int) -> None:
        if not self._wants(index, "sustained"):
            return
        loaded = self._load(index, self._latency_loads() + 1)
        if loaded is not None:
            over = {"sustained": lambda seconds: seconds >= self.job.sustained_seconds}
            self._time([self._series(index, loaded)], "sustained", over)

    def _series(self, index: int, loaded: Loaded) -> Series:
        prepared = loaded.prepare(self.feed.timed())
        return Series(self.writer, index, lambda: loaded.infer(prepared))

    def _time(
        self, group: list[Series], where: str, phases: dict[str, Callable[[float], bool]]
    ) -> None:
        """Time a group in turns; what fails leaves it. phases: name in `times` -> when it ends."""
        everyone = group[:]
        # Python's own collector would show as outliers that no app has.
        gc.collect()
        gc.disable()
        try:
            for phase, over in phases.items():
                run_in_turns(
                    group, phase, over, lambda i, e: self._end(where, i, e), self._state_if_due
                )
        finally:
            gc.enable()
        self.counts["timed"] += sum(series.total for series in everyone)
        for series in group:
            self._finished(series.configuration, where)

    # -- lines between

    def _state_if_due(self) -> None:
        if self.writer.now() - self.last_state >= STATE_SECONDS:
            self._state()

    def _state(self) -> None:
        self.last_state = self.writer.now()
        self.writer.line("state", **facts.state())

    def _finished(self, index: int, phase: str) -> None:
        self._state()
        self.writer.line("finished", configuration=index, phase=phase)
