"""What a device's lines can say: every field's range, and what must fit the job and other lines.

The codec (`protocol.py`) knows types; a phone or a browser can still send times that no clock
shows and classes that no network has. Such a line is refused as a whole and its reason is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mobilemod import ranges
from mobilemod.evaluation.runs import checked_map
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.protocol.lines import PROTOCOL, Line
from mobilemod.harness.worker.digest import logits_sha256, map_sha256, top

if TYPE_CHECKING:
    from mobilemod.manifest_schema import Manifest

DAY, MONTH = 86_400.0, 30 * 86_400.0
# Clocks are read a little before a line is written, and rounded.
SLACK_SECONDS, DRIFT = 1.0, 1.05
ZERO_DIGEST = "0" * 64


class Range(ranges.Range):
    """As records say it."""

    def __str__(self) -> str:
        begin = "more than " if self.above else ""
        return f"{begin}{self.low:,.15g} to {self.high:,.15g} {self.unit}".rstrip()


_INFERENCE = Range(0, 1e3 * DAY, "ms", above=True)
_MEMORY = Range(0, 1 << 44, "bytes")
_COUNT = Range(0, 10**9)

# By type and field; each value of a list, an object's member by a dot. Null or absent is allowed
# wherever the codec allows it. docs/harness-protocol.md lists the same.
DOMAINS: Mapping[str, Mapping[str, Range]] = {
    "hello": {"device.memory_bytes": _MEMORY, "device.cores": Range(1, 4096)},
    "load": {
        "seconds": Range(0, DAY, "s"),
        "first_inference_ms": _INFERENCE,
        "cold": Range(0, 10_000),
        "partitions": Range(0, 1_000_000),
        "fallback": Range(0, 1_000_000),
        "placed": Range(0, 1_000_000),
    },
    "image": {"preprocess_ms": Range(0, 1e3 * DAY, "ms"), "inference_ms": _INFERENCE},
    "times": {"first": _COUNT, "ms": _INFERENCE, "at": Range(0, MONTH, "s")},
    "state": {
        "temperature_c": Range(-100, 300, "°C"),
        "memory_bytes": _MEMORY,
        "battery.level": Range(0, 1),
        "frequencies_hz": Range(0, 1e12, "Hz"),
    },
    "done": {"answered": _COUNT, "timed": _COUNT, "errors": _COUNT},
}
_TIME = Range(0, MONTH, "s")


@dataclass
class Domains:
    """Judges the lines of one job in their order. classes: of the network; None: not known.
    pixels: of the maps that it makes; None: it makes none, or that isn't known.

    refused: how many lines by reason.
    """

    job: Job
    classes: int | None = None
    pixels: int | None = None
    refused: Counter[str] = field(default_factory=Counter)
    _clocks: dict[str, tuple[int, float]] = field(default_factory=dict)
    _busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _answers: dict[tuple[str, str], list] = field(default_factory=dict)
    _timed: defaultdict[tuple[str, int, str], set[int]] = field(
        default_factory=lambda: defaultdict(set)
    )

    @classmethod
    def of(cls, job: Job, manifest: Manifest | None) -> Domains:
        """By a bundle's manifest; None: not known."""
        if manifest is None:
            return cls(job)
        size = manifest.map
        return cls(job, manifest.num_classes, None if size is None else size[0] * size[1])

    def accept(self, line: Line) -> bool:
        """Whether a line can be; the reason why not is counted. A refused one leaves no trace."""
        reason = self._reason(line)
        if reason is None:
            return True
        self.refused[f"{line.type}: {reason}"] += 1
        return False

    def _reason(self, line: Line) -> str | None:
        found = _out_of_range(line) or self._beyond_job(line)
        found = found or _CHECKS.get(line.type, lambda *_: None)(self, line)
        busy = _busy_seconds(line)
        return found or self._clock(line, busy)

    def _beyond_job(self, line: Line) -> str | None:
        """Indices, and phases, of what the job doesn't have or ask for."""
        job, index, image = self.job, line["configuration"], line["image"]
        if index is not None and index >= len(job.configurations):
            return "a configuration that the job doesn't have"
        inputs = len(job.golden) if line.type == "golden" else job.inputs.count
        if image is not None and image >= inputs:
            return "an image that the job doesn't have"
        alone = index is not None and job.configurations[index].self_test_only
        if line.type == "image" and (alone or not job.accuracy):
            return "an answer that the job doesn't ask for"
        if line.type == "times":
            sustained = line["phase"] == "sustained"
            if alone or not (job.sustained_seconds if sustained else job.latency is not None):
                return "times that the job doesn't ask for"
        if line.type == "done" and line["answered"] > job.inputs.count * len(job.configurations):
            return "more answers than the job asks for"
        return None

    def _hello(self, line: Line) -> str | None:
        return None if line["protocol"] == PROTOCOL else "another protocol"

    def _count_of(self, logits: list | None) -> str | None:
        if logits is not None and self.classes is not None and len(logits) != self.classes:
            return "another number of logits than the network has classes"
        return None

    def _golden(self, line: Line) -> str | None:
        if line["runs"] is None and self.pixels is None:
            return self._count_of(line["logits"])
        return self._map(line)

    def _map(self, line: Line) -> str | None:
        """The runs by themselves, and against the digest of an `image` line."""
        runs, digest = line["runs"], line["logits_sha256"]
        if runs is None:
            return "no map, which the network makes"
        if self.classes is None:
            return None
        if self.pixels is None:
            return "a map, which the network doesn't make"
        try:
            found = checked_map(runs, self.pixels, self.classes)
        except ValueError:
            return "runs that are no map of the network's size and classes"
        wrong = digest is not None and map_sha256(found) != digest
        return "a digest that isn't that of the map" if wrong else None

    def _image(self, line: Line) -> str | None:
        """Top-5 by itself, against the logits, and the digest against both; or the map."""
        ranked, logits, digest = line["top"], line["logits"], line["logits_sha256"]
        if digest == ZERO_DIGEST:
            return "a digest of zeros"
        if line["runs"] is not None or self.pixels is not None:
            return self._map(line)
        classes = [c for c, _ in ranked]
        if len(set(classes)) < len(classes):
            return "a class twice in the top five"
        if self.classes is not None and max(classes, default=0) >= self.classes:
            return "a class that the network doesn't have"
        values = [v for _, v in ranked if v is not None]
        if any(v is None for _, v in ranked[: len(values)]):
            return "a class without a logit before one with one"
        keys = [(-v, c) for c, v in ranked[: len(values)]]
        if keys != sorted(keys):
            return "a top five that isn't best first"
        if logits is None and self.job.logits:
            return "no logits, which the job asks for"
        found = self._count_of(logits)
        if logits is not None and found is None:
            found = _against_logits(ranked[: len(values)], logits, digest)
        if found is not None:
            return found
        key = (self.job.configurations[line["configuration"]].file, digest)
        if self._answers.get(key, ranked) != ranked:
            return "the digest of another answer"
        return None

    def _times(self, line: Line) -> str | None:
        at = line["at"]
        if any(b < a - 1e-3 for a, b in zip(at, at[1:], strict=False)):
            return "begins that go backwards"
        if at[-1] + line["ms"][-1] / 1e3 > line.t + SLACK_SECONDS:
            return "an inference that ends after its line"
        key, indices = (line.run, line["configuration"], line["phase"]), range(
            line["first"], line["first"] + len(at)
        )  # fmt: skip
        if not self._timed[key].isdisjoint(indices):
            return "an index that was timed before"
        return None

    def _clock(self, line: Line, busy: float) -> str | None:
        """Time goes on within a run, and no more of it is worked than has gone by."""
        if line.t not in _TIME:
            return f"t is outside {_TIME}"
        seq, last = self._clocks.get(line.run, (-1, 0.0))
        if line.seq > seq and line.t < last - SLACK_SECONDS:
            return "t goes backwards"
        if line.seq < seq and line.t > last + SLACK_SECONDS:
            return "t is after that of a later line"
        total = self._busy[line.run] + busy
        if busy and total > DRIFT * max(line.t, last) + SLACK_SECONDS:
            return "more inferences than fit into the time"
        self._busy[line.run] = total
        if line.seq > seq:
            self._clocks[line.run] = (line.seq, max(line.t, last))
        if line.type == "image":
            file = self.job.configurations[line["configuration"]].file
            self._answers[file, line["logits_sha256"]] = line["top"]
        if line.type == "times":
            self._timed[line.run, line["configuration"], line["phase"]].update(
                range(line["first"], line["first"] + len(line["ms"]))
            )
        return None


_CHECKS: dict[str, Callable[[Domains, Line], str | None]] = {
    "hello": Domains._hello,
    "golden": Domains._golden,
    "image": Domains._image,
    "times": Domains._times,
}


def _out_of_range(line: Line) -> str | None:
    for name, allowed in DOMAINS.get(line.type, {}).items():
        key, _, member = name.partition(".")
        value = line[key]
        if member:
            value = (value or {}).get(member)
        if isinstance(value, dict):
            value = list(value.values())
        numbers = value if isinstance(value, list) else [value]
        for v in numbers:
            if v is None or isinstance(v, str):
                continue
            if v not in allowed:
                return f"{name} is outside {allowed}"
    return None


def _busy_seconds(line: Line) -> float:
    """Seconds of one thing after another that a line says it took."""
    if line.type == "times":
        return sum(line["ms"]) / 1e3
    if line.type == "image":
        return (line["inference_ms"] or 0.0) / 1e3
    if line.type == "load":
        return line["seconds"] + (line["first_inference_ms"] or 0.0) / 1e3
    return 0.0


def _against_logits(ranked: list, logits: list, digest: str) -> str | None:
    values = np.array([np.nan if v is None else v for v in logits], np.float32)
    own = top(values)
    said = [[c, float(np.float32(v))] for c, v in ranked]
    if said != own:
        return "a top five that isn't that of the logits"
    # Which NaN or infinity stood where null does isn't known.
    if np.isfinite(values).all() and logits_sha256(values) != digest:
        return "a digest that isn't that of the logits"
    return None
