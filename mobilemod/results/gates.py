"""Gates: the limits that decide whether a validation passes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mobilemod.evaluation.statistics import images_needed, upper_end
from mobilemod.results.gpu import outcome_text
from mobilemod.results.schema import int8_pairs, own_ranges, validate_record
from mobilemod.results.verdict import FAIL, PASS, UNDECIDED, Verdict, word
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Reference, Task

_SLACK = 1e-9  # 0.5 points computed in floating point still meets a gate of 0.5


@dataclass(frozen=True)
class Gates:
    """The limits of a validation.

    max_drop: points of the metric an int8 file may lose; max_upper: the most that the upper end of
    the drop's 95 % interval may be; min_agreement: percent for int8 pairs. sample: the images are a
    part that was chosen to save time, so that an upper end above its limit is no failure; such a
    verdict says "undecided". A sample can refute a small drop; it can't prove one.
    """

    max_drop: float = 0.5
    max_upper: float = 1.0
    min_agreement: float = 99.0
    sample: bool = False


def check(record: dict, gates: Gates) -> list[Verdict]:
    """A verdict for each int8 file's drop, each pair of int8 files of the same ranges, and each
    file on a GPU.

    A record without predictions has nothing to judge: the list is empty. A record with
    predictions but without an int8 file or without the torch float reference fails, so that a
    gate never passes because nothing was compared.
    """
    validate_record(record)
    if not record["measured"]:
        return []
    int8 = [p for p in record["predictions"] if p["role"] == "int8"]
    if not int8:
        return [Verdict("int8 files", FAIL, "int8 files: none was measured: fail")]
    images, task = record["data"]["images"], task_of(record)
    reference = task.reference_in(record)
    verdicts = [
        judge_file(p["name"], p["drop"], images, gates, reference, task.counted) for p in int8
    ]
    own = own_ranges(record)
    # Only what has the same ranges is promised to agree.
    pairs = [p for p in int8_pairs(record) if own.get(p[0]) == own.get(p[1])]
    verdicts += [_agreement(task, a, b, pair, gates.min_agreement) for a, b, pair in pairs]
    checked = record.get("gpu") or {"images": 0, "files": []}
    return verdicts + [
        judge_gpu(entry, checked["images"], gates.min_agreement) for entry in checked["files"]
    ]


def judged(record: dict, verdicts: Sequence[Verdict]) -> dict:
    """A copy of `record` with its verdicts, as it is written to JSON."""
    return {**record, "verdicts": [v.to_dict() for v in verdicts]}


def judge_file(
    name: str,
    drop: dict | None,
    images: int,
    gates: Gates,
    reference: Reference | None = None,
    counted: bool = True,
) -> Verdict:
    """The drop and the upper end of its interval.

    counted: images are right or wrong; then the upper end is the wider one of bootstrap and
    Agresti-Min. A gate that isn't failed is undecided where the reference's `doubt` finds that the
    float network's answers are none to measure by, or where a sample is too small.
    """
    verdict = judge_drop(name, drop, gates.max_drop, reference=reference)
    if drop is None or verdict.state == FAIL:
        return verdict
    lost, won = drop["lost"], drop["won"]
    upper = upper_of(drop, images, counted)
    if verdict.state == PASS and upper > gates.max_upper + _SLACK:
        state = UNDECIDED if gates.sample else FAIL
        needed = _images_for(gates.max_upper, lost, won, images) if counted else None
        reason = f"{images:,} images are too few to show it"
        reason += f"; about {needed:,} are needed" if needed else ""
        verdict = replace(verdict, state=state, reason=reason, images_needed=needed)
    known = _drop_line(name, drop, gates.max_drop, "drop")
    line = f"{known}, upper end {_near(upper, gates.max_upper)}, gate {gates.max_upper:g}"
    return replace(verdict, line=f"{line}: {_outcome(verdict.state, verdict.reason)}")


def upper_of(drop: Mapping[str, Any], images: int, counted: bool) -> float:
    """The upper end of a drop's interval, points: where images are right or wrong the wider one."""
    if not counted:
        return drop["high"]
    return max(drop["high"], upper_end(drop["lost"], drop["won"], images))


def _images_for(limit: float, lost: int, won: int, images: int) -> int:
    """How many images would tell a drop of `limit` points from none, as often as they differ."""
    rate = max((lost + won + 1) / (images + 2), limit / 100)
    return images_needed(limit, min(rate, 1.0))


def judge_drop(
    name: str,
    drop: dict[str, Any] | None,
    limit: float,
    what: str = "drop",
    reference: Reference | None = None,
) -> Verdict:
    """Whether a drop (points, low, high; None: not known) is at most `limit` points.

    Undecided where it is, but the reference's `doubt` finds its answers none to measure by.
    """
    if drop is None:
        line = f"{name}: {what} not known, no torch float reference: fail"
        return Verdict(f"{what}: {name}", FAIL, line, what, None, limit)
    reason, state = None, FAIL
    if drop["points"] <= limit + _SLACK:
        reason = reference and reference.doubt(drop)
        state = PASS if reason is None else UNDECIDED
    line = f"{_drop_line(name, drop, limit, what)}: {_outcome(state, reason)}"
    return Verdict(f"{what}: {name}", state, line, what, drop["points"], limit, reason)


def _outcome(state: str, reason: str | None) -> str:
    return state if reason is None else f"{state}, {reason}"


def _drop_line(name: str, drop: dict, limit: float, what: str) -> str:
    """The drop, its interval and its gate, without a verdict."""
    return (
        f"{name}: {what} {_near(drop['points'], limit)}, 95 % [{drop['low']:.2f}, "
        f"{drop['high']:.2f}], gate {limit:g}"
    )


def _agreement(task: Task, a: str, b: str, pair: dict | None, limit: float) -> Verdict:
    name = f"agreement: {a} / {b}"
    if pair is None:
        return Verdict(name, FAIL, f"{a} / {b}: not compared: fail", "agreement", None, limit)
    value = pair[task.agreement.key]
    state = word(value >= limit - _SLACK)
    line = f"{a} / {b}: agreement {_near(value, limit)} %, gate {limit:g} %: {state}"
    return Verdict(name, state, line, "agreement", value, limit)


def judge_gpu(entry: dict[str, Any], images: int, limit: float) -> Verdict:
    """Whether a file ran whole on a GPU and answered as on the processor on `limit` % of images."""
    value = entry["agreement_percent"]
    good = entry["whole"] and value is not None and value >= limit - _SLACK
    line = f"gpu: {entry['file']}: {outcome_text(entry)}"
    if value is not None:
        line += f", agreement {_near(value, limit)} % on {images} images, gate {limit:g} %"
    state = word(good)
    return Verdict(f"gpu: {entry['file']}", state, f"{line}: {state}", "gpu", value, limit)


def _near(value: float, limit: float) -> str:
    """Two decimals, or more where two would hide on which side of the limit it lies."""
    for decimals in (2, 3, 4):
        text = f"{value:.{decimals}f}"
        if math.isclose(value, limit, abs_tol=_SLACK) or float(text) != limit:
            return text
    return repr(value)
