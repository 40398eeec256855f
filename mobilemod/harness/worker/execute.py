"""Runs a job folder in the protocol's order and writes its lines."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilemod import __version__
from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import JobFolder, LatencyPlan, Resume, load_job, verify_files
from mobilemod.harness.protocol.lines import PROTOCOL, Reader, Writer
from mobilemod.harness.worker import facts
from mobilemod.harness.worker.digest import logits_sha256, top
from mobilemod.harness.worker.runtimes import RUNTIMES, Loaded, versions
from mobilemod.harness.worker.timing import Series, run_in_turns, warm_up

STATE_SECONDS = 5.0


class Refused(Exception):
    """The job can't be run here; a fatal `error` line has been written."""


def execute(folder: Path, send: Callable[[bytes], None], kind: str, held: bytes = b"") -> None:
    """Run the job in `folder`, handing every line to `send`.

    kind: as `hello` says it. held: this device's own stream of earlier starts; what stands there of
    the same job isn't run again. Raises `Refused` after a fatal `error` line, `UserError` where
    there is no job that a line could name, and what `send` raises.
    """
    job_folder = load_job(folder, verify=False)
    writer = Writer(job_folder.job.id, send)
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
        preprocess = _preprocess(job_folder)
        resume = with_stream(job_folder, held)
    except UserError as error:
        writer.line("error", where="job", message=str(error), fatal=True)
        raise Refused from None
    _Run(job_folder, resume, writer, preprocess).all()


def _preprocess(folder: JobFolder) -> Preprocess:
    path = folder.path(folder.job.manifest.path)
    try:
        return Preprocess.from_dict(json.loads(path.read_text("utf-8"))["preprocess"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} holds no preprocessing ({type(error).__name__})") from None


def with_stream(folder: JobFolder, held: bytes) -> Resume:
    """What `resume.json` and a stream of the same job say is answered and finished."""
    told, reader = folder.resume(), Reader(folder.job.id)
    known = Held(
        folder.job,
        {file: set(indices) for file, indices in told.answered.items()},
        finished=set(told.finished),
    )
    for line in [*reader.feed(held), *reader.close()]:
        known.add(line)
    return known.resume()


class _Run:
    """One start of the job."""

    def __init__(self, folder: JobFolder, resume: Resume, writer: Writer, preprocess: Preprocess):
        self.folder, self.job, self.resume, self.writer = folder, folder.job, resume, writer
        self.preprocess = preprocess
        self.answered = self.timed = self.errors = 0
        self.unreadable: set[int] = set()
        self.last_state = -STATE_SECONDS
        self.pixels: np.ndarray | None = None
        if self.job.inputs.kind == "pixels":
            path = folder.path(self.job.inputs.path or "")
            self.pixels = np.memmap(path, np.uint8, "r", shape=self.job.inputs.shape)

    def all(self) -> None:
        """Everything that isn't finished, then `done`."""
        for index in range(len(self.job.configurations)):
            self._guarded("configuration", index, self._check_and_answer)
        if self.job.latency is not None:
            for group in self._groups():
                self._guarded("latency", group[0], lambda _, g=group: self._latency(g))
        if self.job.sustained_seconds:
            for index in range(len(self.job.configurations)):
                self._guarded("sustained", index, self._sustained)
        self._state(force=True)
        counts = {"answered": self.answered, "timed": self.timed, "errors": self.errors}
        self.writer.line("done", **counts)

    def _guarded(self, where: str, index: int, work: Callable[[int], None]) -> None:
        """A configuration that fails is reported and left; the others go on."""
        try:
            work(index)
        except OSError:
            raise  # the stream itself, or the disk
        except Exception as error:
            self.errors += 1
            said = f"{type(error).__name__}: {error}".splitlines()[0][:500]
            message = f"{self.job.configurations[index].file}: {said}"
            self.writer.line(
                "error", where=where, message=message, configuration=index, fatal=False
            )

    # -- loading

    def _load(self, index: int) -> Loaded:
        c = self.job.configurations[index]
        file = self.job.file(c.file)
        return RUNTIMES[file.target].load(self.folder.path(file.path), c.threads, c.delegate)

    def _load_and_tell(self, index: int, cold: int) -> Loaded:
        target = self.job.file(self.job.configurations[index].file).target
        if target not in RUNTIMES:
            raise UserError(f"this device runs no {target} files")
        RUNTIMES[target].prepare()
        begin = time.perf_counter()
        loaded = self._load(index)
        seconds = time.perf_counter() - begin
        prepared = loaded.prepare(self._first_input())
        begin = time.perf_counter()
        loaded.infer(prepared)
        self.writer.line(
            "load",
            configuration=index,
            seconds=seconds,
            first_inference_ms=1e3 * (time.perf_counter() - begin),
            cold=cold,
            runtime=loaded.description,
            partitions=loaded.partitions,
            fallback=loaded.fallback,
        )
        return loaded

    def _first_input(self) -> np.ndarray:
        """float32 (1, 3, S, S): what is timed. The first golden image, else grey."""
        size = self.preprocess.size
        if self.job.golden:
            pixels = self._golden_pixels(0)
        else:
            pixels = np.full((size, size, 3), 128, np.uint8)
        return self.preprocess.normalize(pixels[None])

    # -- self-test and accuracy

    def _check_and_answer(self, index: int) -> None:
        file = self.job.configurations[index].file
        wants_golden = (index, "golden") not in self.resume.finished
        first = self.job.accuracy and self.job.first_configuration(file) == index
        wants_answers = first and (index, "accuracy") not in self.resume.finished
        if not wants_golden and not wants_answers:
            return
        loaded = self._load_and_tell(index, 0)
        if wants_golden:
            self._golden(index, loaded)
            self._finished(index, "golden")
        if wants_answers:
            for i in range(self.job.inputs.count):
                if not self.resume.has(file, i) and i not in self.unreadable:
                    self._answer(index, i, loaded)
                    self._state()
            self._finished(index, "accuracy")

    def _golden_image(self, number: int) -> Image.Image:
        image = Image.open(self.folder.path(self.job.golden[number].path))
        image.load()
        return image

    def _golden_pixels(self, number: int) -> np.ndarray:
        return np.asarray(self._golden_image(number).convert("RGB"))

    def _golden(self, index: int, loaded: Loaded) -> None:
        for number in range(len(self.job.golden)):
            pixels = self._golden_pixels(number)
            own = self.preprocess.pixels(self._golden_image(number))
            for source, values in (("pixels", pixels), ("image", own)):
                x = self.preprocess.normalize(values[None])
                logits = loaded.infer(loaded.prepare(x))
                self.writer.line(
                    "golden",
                    configuration=index,
                    image=number,
                    source=source,
                    logits=_floats(logits),
                )

    def _answer(self, index: int, image: int, loaded: Loaded) -> None:
        begin = time.perf_counter()
        try:
            pixels = self._pixels(image)
        except DamagedImage as error:
            self.unreadable.add(image)
            self.writer.line("unreadable", image=image, message=str(error))
            return
        prepared = loaded.prepare(self.preprocess.normalize(pixels[None]))
        middle = time.perf_counter()
        logits = loaded.infer(prepared)
        end = time.perf_counter()
        more: dict[str, Any] = {"logits": _floats(logits)} if self.job.logits else {}
        self.writer.line(
            "image",
            configuration=index,
            image=image,
            top=top(logits),
            logits_sha256=logits_sha256(logits),
            **more,
            preprocess_ms=1e3 * (middle - begin),
            inference_ms=1e3 * (end - middle),
        )
        self.answered += 1

    def _pixels(self, image: int) -> np.ndarray:
        if self.pixels is not None:
            return np.asarray(self.pixels[image])
        path = self.folder.path(self.job.inputs.items[image].path or "")
        return read_image(path, self.preprocess.pixels)

    # -- time

    def _groups(self) -> list[tuple[int, ...]]:
        """Configurations to time: an int8 one with its twin, others alone."""
        groups, taken = [], set()
        for index in range(len(self.job.configurations)):
            twin = self.job.twin_of(index)
            if twin is not None:
                groups.append((index, twin))
                taken |= {index, twin}
        groups += [(i,) for i in range(len(self.job.configurations)) if i not in taken]
        return [
            group
            for group in sorted(groups)
            if any((i, "latency") not in self.resume.finished for i in group)
        ]

    def _latency(self, group: tuple[int, ...]) -> None:
        plan = self.job.latency
        assert plan is not None
        loaded: dict[int, Loaded] = {}
        for index in group:
            # A file that doesn't load leaves its twin to be timed alone.
            self._guarded(
                "latency", index, lambda i: loaded.update({i: self._cold_starts(i, plan)})
            )
        series = [self._series(index, file) for index, file in loaded.items()]
        for one in series:
            warm_up(one, plan)
        if series:
            self._time(series, plan.min_runs, plan.min_seconds, "steady")
        for index in loaded:
            self._finished(index, "latency")

    def _cold_starts(self, index: int, plan: LatencyPlan) -> Loaded:
        loaded = None
        for cold in range(1, plan.cold_starts + 1):
            loaded = None  # the one before goes first
            gc.collect()
            loaded = self._load_and_tell(index, cold)
        return loaded or self._load(index)

    def _sustained(self, index: int) -> None:
        if (index, "sustained") in self.resume.finished:
            return
        series = self._series(index, self._load(index))
        self._time([series], 1, self.job.sustained_seconds, "sustained")
        self._finished(index, "sustained")

    def _series(self, index: int, loaded: Loaded) -> Series:
        prepared = loaded.prepare(self._first_input())
        return Series(self.writer, index, lambda: loaded.infer(prepared))

    def _time(self, group: list[Series], runs: int, seconds: float, phase: str) -> None:
        # Python's own collector would show as outliers that no app has.
        gc.collect()
        gc.disable()
        try:
            run_in_turns(group, runs, seconds, phase, self._state)
        finally:
            gc.enable()
            self.timed += sum(series.total for series in group)

    # -- lines between

    def _state(self, force: bool = False) -> None:
        if force or self.writer.now() - self.last_state >= STATE_SECONDS:
            self.last_state = self.writer.now()
            self.writer.line("state", **facts.state())

    def _finished(self, index: int, phase: str) -> None:
        self._state(force=True)
        self.writer.line("finished", configuration=index, phase=phase)


def _floats(logits: np.ndarray) -> list[float]:
    return [float(v) for v in logits]
