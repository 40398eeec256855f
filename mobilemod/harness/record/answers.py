"""Accuracy of one file on a device, paired image by image with what this machine answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.evaluation.outcomes import Outcomes
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.protocol.lines import Line
from mobilemod.harness.record.host_side import HostAnswers
from mobilemod.harness.worker.digest import logits_sha256, map_sha256
from mobilemod.tasks.task import Task, Told, outputs_of


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


@dataclass(frozen=True)
class Judged:
    """A file's n answers, what is right for each (None where that isn't known), and their worth.

    names: of the inputs. outputs: how many the network has.
    """

    names: tuple[str, ...]
    answers: Answers
    lines: list[Line]
    targets: list[Any]
    told: Told
    outputs: int


def judge(
    job: Job,
    answers: Answers,
    outputs: int,
    host: HostAnswers | None,
    task: Task,
    size: Sequence[int] | None = None,
) -> Judged | None:
    """One file's answers; None where nothing was answered.

    outputs: how many the network has; size: of the maps that it makes.
    """
    if not answers.lines:
        return None
    indices = sorted(answers.lines)
    lines = [answers.lines[i] for i in indices]
    targets = _targets(job, indices, host)
    told = task.told(lines, targets, outputs, size)
    names = tuple(job.inputs.items[i].name for i in indices)
    return Judged(names, answers, lines, targets, told, outputs)


def outcomes_entry(files: Mapping[str, Judged | None]) -> dict[str, Any] | None:
    """A record's `outcomes`: of the images that every file with answers answered and whose target
    is known; None where there are none, or where images share a name."""
    judged = {file: j for file, j in files.items() if j is not None and j.told.scored is not None}
    if not judged or any(len(set(j.names)) != len(j.names) for j in judged.values()):
        return None
    first, *others = judged.values()
    there = [set(j.names) for j in others]
    targets = {
        name: target
        for name, target in zip(first.names, first.targets, strict=True)
        if target is not None and all(name in names for names in there)
    }
    if not targets:
        return None
    scored = {}
    for file, j in judged.items():
        rows = {name: row for row, name in enumerate(j.names)}
        scored[file] = j.told.scored[[rows[name] for name in targets]]
    return Outcomes.of([*targets], [*targets.values()], scored).to_dict()


def accuracy_entry(
    judged: Judged | None, file: str, host: HostAnswers | None, task: Task
) -> dict[str, Any] | None:
    """A record's `accuracy` of one file; None where nothing was answered.

    `paired` holds what is taken of the inputs that both answered and whose target is known; `host`
    compares with the same file on this machine.
    """
    if judged is None:
        return None
    answers, lines, targets, told = judged.answers, judged.lines, judged.targets, judged.told
    known = np.array([target is not None for target in targets])
    entry: dict[str, Any] = {
        "images": len(lines),
        **told.figures,
        "non_finite": int((~told.finite).sum()),
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
    both = [(n, rows[name]) for n, name in enumerate(judged.names) if name in rows]
    if not both:
        return entry
    own, there = (np.array(column) for column in zip(*both, strict=True))
    paired = known[own]
    if paired.any() and told.scored is not None:
        right = np.array([targets[n] for n in own[paired]])
        reference = host.reference[there[paired]]
        before, now = task.scored(reference, right), told.scored[own[paired]]
        entry["drop"] = asdict(task.drop_of(before, now))
        entry["paired_images"] = int(paired.sum())
        doubt = task.reference(reference, right)
        entry["reference"] = None if doubt is None else asdict(doubt)
    # Lines tell of whole outputs, or of maps; of another part that a task keeps nothing compares.
    if file in host.files and (task.maps or task.kept_by is None):
        kept = host.files[file][there]
        entry["host"] = _against_host([lines[n] for n in own], kept, judged.outputs, task)
    return entry


def twin_entry(
    job: Job, file: str, judged: Mapping[str, Judged | None], task: Task
) -> dict[str, Any] | None:
    """What an int8 file loses against its float twin on the device itself, on the images that both
    answered there and whose target is known; None where there are none."""
    twin = job.file(file).twin
    own, other = judged[file], judged.get(twin)
    if own is None or other is None or own.told.scored is None or other.told.scored is None:
        return None
    rows = {line["image"]: row for row, line in enumerate(other.lines)}
    both = [(rows[line["image"]], row) for row, line in enumerate(own.lines)
            if line["image"] in rows and own.targets[row] is not None]  # fmt: skip
    if not both:
        return None
    there, here = (list(column) for column in zip(*both, strict=True))
    drop = task.drop_of(other.told.scored[there], own.told.scored[here])
    return {"file": twin, "images": len(both), "drop": asdict(drop)}


def _targets(job: Job, indices: list[int], host: HostAnswers | None) -> list[Any]:
    """Of these inputs; None where one isn't known."""
    items = [job.inputs.items[i] for i in indices]
    if host is None or host.targets is None:
        return [item.target for item in items]
    by_name = dict(zip(host.names, host.targets, strict=True))
    return [by_name.get(item.name) for item in items]


def _against_host(lines: list[Line], here: np.ndarray, outputs: int, task: Task) -> dict[str, Any]:
    """Agreement with the same file's outputs here, float32 (n, K), or maps, uint8 (n, h, w)."""
    digest = map_sha256 if task.maps else logits_sha256
    same = np.array([
        line["logits_sha256"] == digest(row) for line, row in zip(lines, here, strict=True)
    ])  # fmt: skip
    alike = task.told_alike(lines, here, outputs)
    sqnr = None
    there = None if task.maps else outputs_of(lines, here.shape[1])
    if there is not None and not same.all():
        value = sqnr_db(here, there)
        sqnr = float(value) if np.isfinite(value) else None
    return {
        "images": len(lines),
        "identical": int(same.sum()),
        task.agreement.key: task.told_percent(lines, here, outputs),
        "differing": [int(i) for i in np.flatnonzero(~alike)[:100]],
        "sqnr_db": sqnr,
    }


def by_file(job: Job, lines: list[Line]) -> Mapping[str, Answers]:
    """Every file's answers; those of configurations other than its first count too."""
    found = {f.name: Answers() for f in job.files}
    for line in lines:
        if line.type == "image":
            found[job.configurations[line["configuration"]].file].add(line)
    return found
