"""Accuracy of one file on a device, paired image by image with what this machine answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mobilemod.evaluation.accuracy import drop_of, top1
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.evaluation.doubt import Reference
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.protocol.lines import Line
from mobilemod.harness.record.host_side import HostAnswers
from mobilemod.harness.worker.digest import logits_sha256


@dataclass
class Answers:
    """A file's `image` lines by input. again: answers to an input that was answered before
    (another run of the job); differing: those of them that answer otherwise."""

    lines: dict[int, Line] = field(default_factory=dict)
    again: int = 0
    differing: int = 0

    def add(self, line: Line) -> None:
        """The first answer counts."""
        first = self.lines.setdefault(line["image"], line)
        if first is not line:
            self.again += 1
            self.differing += first["logits_sha256"] != line["logits_sha256"]


def accuracy_entry(
    job: Job, file: str, answers: Answers, classes: int, host: HostAnswers | None
) -> dict[str, Any] | None:
    """A record's `accuracy` of one file; None where nothing was answered.

    `paired` holds what is taken of the inputs that both answered and whose class is known;
    `host` compares with the same file on this machine.
    """
    if not answers.lines:
        return None
    indices = np.array(sorted(answers.lines))
    lines = [answers.lines[i] for i in indices]
    best = np.array([_best(line, classes) for line in lines])
    targets = np.array([_target(job, i) for i in indices])
    known = targets >= 0
    top5 = np.array(
        [any(c == t for c, _ in line["top"]) for line, t in zip(lines, targets, strict=True)]
    )
    entry: dict[str, Any] = {
        "images": len(lines),
        "top1_percent": _percent((best == targets)[known]),
        "top5_percent": _percent((top5 & (best >= 0))[known]) if classes > 5 else None,
        "non_finite": int((best < 0).sum()),
        "answered_again": answers.again,
        "answered_differently": answers.differing,
        "drop": None,
        "paired_images": 0,
        "reference": None,
        "host": None,
    }
    if host is None:
        return entry
    rows = {name: row for row, name in enumerate(host.names)}
    both = [(n, rows[job.inputs.items[i].name]) for n, i in enumerate(indices)
            if job.inputs.items[i].name in rows]  # fmt: skip
    if not both:
        return entry
    own, there = (np.array(column) for column in zip(*both, strict=True))
    paired = known[own]
    if paired.any():
        before = top1(host.reference[there[paired]], targets[own[paired]])
        now = best[own[paired]] == targets[own[paired]]
        entry["drop"] = asdict(drop_of(before, now))
        entry["paired_images"] = int(paired.sum())
        seen = len(np.unique(targets[own[paired]]))
        reference = Reference(100.0 * float(before.mean()), int(paired.sum()), seen, classes)
        entry["reference"] = asdict(reference)
    if file in host.files:
        entry["host"] = _against_host([lines[n] for n in own], best[own], host.files[file][there])
    return entry


def _against_host(lines: list[Line], best: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """Agreement with the same file's logits here, float32 (n, K)."""
    same = np.array([
        line["logits_sha256"] == logits_sha256(row) for line, row in zip(lines, logits, strict=True)
    ])  # fmt: skip
    here = top1(logits, best)
    complete = all(line["logits"] and len(line["logits"]) == logits.shape[1] for line in lines)
    sqnr = None
    if complete and not same.all():
        there = np.array([[np.nan if v is None else v for v in line["logits"]] for line in lines])
        value = sqnr_db(logits, there)
        sqnr = float(value) if np.isfinite(value) else None
    return {
        "images": len(lines),
        "identical": int(same.sum()),
        "top1_percent": _percent(here),
        "differing": [int(i) for i in np.flatnonzero(~here)[:100]],
        "sqnr_db": sqnr,
    }


def _best(line: Line, classes: int) -> int:
    """The class answered; -1 where a logit is known not to be finite, as on the host.

    Known it is from the logits, or from fewer than five in the top five.
    """
    finite = [best for best, logit in line["top"] if logit is not None]
    if len(finite) < min(5, classes) or None in (line["logits"] or ()):
        return -1
    return int(finite[0])


def _target(job: Job, index: int) -> int:
    target = job.inputs.items[index].target
    return -1 if target is None else target


def _percent(right: np.ndarray) -> float | None:
    return 100.0 * float(np.mean(right)) if len(right) else None


def by_file(job: Job, lines: list[Line]) -> Mapping[str, Answers]:
    """Every file's answers; those of configurations other than its first count too."""
    found = {f.name: Answers() for f in job.files}
    for line in lines:
        if line.type == "image":
            found[job.configurations[line["configuration"]].file].add(line)
    return found
