"""What the self-test says of each of a job's configurations, and where its ops ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from PIL import Image

from mobilemod.evaluation.runs import SCORES, from_runs, map_of
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import JobFile
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import Line, printable
from mobilemod.harness.record.host_side import HostSide
from mobilemod.harness.record.likeness import Likeness, Maps, Numbers, settled
from mobilemod.harness.record.selftest import (
    FAILED,
    NOT_AVAILABLE,
    PREPROCESSING,
    RIGHT,
    RUNTIME,
    UNKNOWN,
    SelfTest,
    judge,
)
from mobilemod.harness.record.times import Series, latency_entry, sustained_entry
from mobilemod.manifest import Bundle
from mobilemod.manifest_schema import Audit, Golden
from mobilemod.targets import TARGETS

# Of a file's measured configurations the last of these stands for the file.
ORDER = (UNKNOWN, FAILED, NOT_AVAILABLE, RIGHT, PREPROCESSING, RUNTIME)


def worst(tests: Iterable[SelfTest]) -> SelfTest:
    """What stands for several configurations of one file."""
    return max(tests, key=lambda test: ORDER.index(test.verdict))


class Units:
    """A job's configurations, as its lines tell of them. host: None where nothing is compared."""

    def __init__(
        self,
        folder: JobFolder,
        bundle: Bundle,
        held: Held,
        lines: Sequence[Line],
        host: HostSide | None,
    ):
        self._job, self._bundle, self._held, self._host = folder.job, bundle, held, host
        self._images = _goldens(folder)
        self._golden: dict[int, dict[str, dict[int, np.ndarray]]] = defaultdict(dict)
        self._errors: dict[int, str] = {}
        for line in lines:
            if line.type == "golden":
                answers = self._golden[line["configuration"]].setdefault(line["source"], {})
                answers[line["image"]] = self._answer(line)
            elif line.type == "error" and line["configuration"] is not None:
                self._errors[line["configuration"]] = line["message"]

    def self_test(self, index: int) -> SelfTest:
        """Of one configuration, by the manifest's outputs of the golden images."""
        c, preprocess, host = self._job.configurations[index], self._bundle.preprocess, self._host
        file, entries = self._job.file(c.file), self._bundle.manifest.golden
        expected = np.array([self._expected(g, file.name) for g in entries] or [[0.0]])
        answered = self._golden[index] if entries and host is not None else {}
        here = host if TARGETS[file.target].runs_here else None

        def run(x: np.ndarray) -> np.ndarray:
            outputs = here.run(file.name, x)
            if self._pixels is None:
                return outputs
            return np.stack([map_of(one).ravel() for one in outputs])

        likeness: Likeness = Numbers.of(expected, file.precision)
        if self._pixels is not None:
            # Without scores nothing tells what rounding decides.
            scored = here is not None and self._bundle.manifest.answer == SCORES
            likeness = Maps.of(file.precision, scored)
            if scored:
                told = self._settled(file, answered.get("pixels", {}), expected, here)
                answered = {**answered, "pixels": told}
        args = (expected, likeness, answered, self._images, preprocess)
        found = judge(*args, None if here is None else run)
        if index in self._held.unavailable:
            reason = printable(self._held.unavailable[index])
            return replace(found, verdict=NOT_AVAILABLE, fault=None, reason=reason)
        if found.verdict == UNKNOWN and index in self._errors:
            return replace(found, verdict=FAILED, reason=printable(self._errors[index]))
        if found.verdict == RUNTIME and here is not None:
            pixels = preprocess.normalize(np.asarray(self._images[found.image])[None])
            return replace(found, parts_at=here.parts_at(file.name, c.delegate, pixels))
        return found

    def _settled(
        self, file: JobFile, told: dict[int, np.ndarray], expected: np.ndarray, here: HostSide
    ) -> dict[int, np.ndarray]:
        """A device's maps of golden images by their numbers, without what rounding decides."""
        found = dict(told)
        for number, observed in told.items():
            if (observed != expected[number]).any():
                x = self._bundle.preprocess.normalize(np.asarray(self._images[number])[None])
                outputs = here.run(file.name, x)[0]
                found[number] = settled(observed, expected[number], outputs, file.precision)
        return found

    @property
    def _pixels(self) -> int | None:
        """Of a map; None: answers are numbers for each class."""
        size = self._bundle.manifest.map
        return None if size is None else size[0] * size[1]

    def _answer(self, line: Line) -> np.ndarray:
        if self._pixels is not None:
            return from_runs(line["runs"], self._pixels)
        return np.array([np.nan if v is None else v for v in line["logits"]], np.float32)

    def _expected(self, golden: Golden, file: str) -> Any:
        answer = self._bundle.manifest.answers(golden)[file]
        return answer if self._pixels is None else from_runs(answer, self._pixels)

    def entry(
        self, index: int, test: SelfTest, series: Series, loads: Sequence[Line]
    ) -> dict[str, Any]:
        """A record's entry of one configuration. loads: of all."""
        c = self._job.configurations[index]
        keys = ("cold", "seconds", "first_inference_ms")
        own = [line for line in loads if line["configuration"] == index]
        said = next((line["runtime"] for line in reversed(own) if line["runtime"]), None)
        return {
            "threads": c.threads,
            "delegate": c.delegate,
            "self_test_only": c.self_test_only,
            "runtime": None if said is None else printable(said),
            "self_test": asdict(test),
            "placement": _told(own),
            "loads": [{key: line[key] for key in keys} for line in own],
            "latency": latency_entry(series, index),
            "sustained": sustained_entry(series, index),
        }


def placement_entry(loads: Sequence[Line], audit: Audit) -> dict[str, Any]:
    """Where a file's ops ran. source: "device" where it said so, else "file": what the audit of the
    file expects of a delegate."""
    file = {"source": "file", "partitions": audit.partitions, "fallback": audit.outside}
    return _told(loads) or {**file, "accelerated": None, "placed": None}


def _told(loads: Sequence[Line]) -> dict[str, Any] | None:
    """What the last load that says anything of it says; None where none does."""
    keys = ("partitions", "fallback", "accelerated", "placed")
    for line in reversed(loads):
        if any(line[key] is not None for key in keys):
            return {"source": "device", **{key: _named(line[key]) for key in keys}}
    return None


def _named(told: Any) -> Any:
    if isinstance(told, dict):
        return {printable(op): count for op, count in told.items()}
    return [printable(op) for op in told] if isinstance(told, list) else told


def _goldens(folder: JobFolder) -> list[Image.Image]:
    images = []
    for golden in folder.job.golden:
        with Image.open(folder.path(golden.path)) as image:
            images.append(image.convert("RGB"))
    return images
