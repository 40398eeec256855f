"""Gates: the limits that decide whether a validation passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from mobilemod.evaluation.statistics import images_needed, upper_end
from mobilemod.results.schema import int8_pairs, validate_record

_SLACK = 1e-9  # 0.5 points computed in floating point still meets a gate of 0.5


@dataclass(frozen=True)
class Gates:
    """The limits of a validation.

    max_drop: top-1 points an int8 file may lose; max_upper: the most that the upper end of the
    drop's 95 % interval may be; min_agreement: percent for int8 pairs. sample: the images are a
    part that was chosen to save time, so that an upper end above its limit is no failure; such a
    verdict says "undecided". A sample can refute a small drop; it can't prove one.
    """

    max_drop: float = 0.5
    max_upper: float = 1.0
    min_agreement: float = 99.0
    sample: bool = False


@dataclass(frozen=True)
class Verdict:
    """One gate's outcome. line: for people.

    kind: "drop", "mean drop", "agreement" or "presence".
    """

    name: str
    passed: bool
    line: str
    kind: str = "presence"
    value: float | None = None
    limit: float | None = None


def check(record: dict, gates: Gates) -> list[Verdict]:
    """A verdict for each int8 file's drop and for each pair of int8 files.

    A record without predictions has nothing to judge: the list is empty. A record with
    predictions but without an int8 file or without the torch float reference fails, so that a
    gate never passes because nothing was compared.
    """
    validate_record(record)
    if not record["measured"]:
        return []
    int8 = [p for p in record["predictions"] if p["role"] == "int8"]
    if not int8:
        return [Verdict("int8 files", False, "int8 files: none was measured: fail")]
    images = record["data"]["images"]
    verdicts = [judge_file(p["name"], p["drop"], images, gates) for p in int8]
    pairs = int8_pairs(record)
    return verdicts + [_agreement(a, b, pair, gates.min_agreement) for a, b, pair in pairs]


def judged(record: dict, verdicts: Sequence[Verdict]) -> dict:
    """A copy of `record` with its verdicts, as it is written to JSON."""
    return {**record, "verdicts": [asdict(v) for v in verdicts]}


def judge_file(name: str, drop: dict | None, images: int, gates: Gates) -> Verdict:
    """The drop and the upper end of its interval, the wider one of bootstrap and Agresti-Min."""
    verdict = judge_drop(name, drop, gates.max_drop)
    if drop is None or not verdict.passed:
        return verdict
    known = _drop_line(name, drop, gates.max_drop, "drop")
    lost, won = drop["lost"], drop["won"]
    upper = max(drop["high"], upper_end(lost, won, images))
    line = f"{known}, upper end {_near(upper, gates.max_upper)}, gate {gates.max_upper:g}"
    if upper <= gates.max_upper + _SLACK:
        return replace(verdict, line=f"{line}: pass")
    needed = _images_for(gates.max_upper, lost, won, images)
    word = "undecided" if gates.sample else "fail"
    line = f"{line}: {word}, {images} images are too few to show it; about {needed} are needed"
    return replace(verdict, line=line, passed=gates.sample)


def _images_for(limit: float, lost: int, won: int, images: int) -> int:
    """How many images would tell a drop of `limit` points from none, as often as they differ."""
    rate = max((lost + won + 1) / (images + 2), limit / 100)
    return images_needed(limit, min(rate, 1.0))


def judge_drop(name: str, drop: dict | None, limit: float, what: str = "drop") -> Verdict:
    """Whether a drop (points, low, high; None: not known) is at most `limit` points."""
    if drop is None:
        line = f"{name}: {what} not known, no torch float reference: fail"
        return Verdict(f"{what}: {name}", False, line, what, None, limit)
    passed = drop["points"] <= limit + _SLACK
    line = f"{_drop_line(name, drop, limit, what)}: {'pass' if passed else 'fail'}"
    return Verdict(f"{what}: {name}", passed, line, what, drop["points"], limit)


def _drop_line(name: str, drop: dict, limit: float, what: str) -> str:
    """The drop, its interval and its gate, without a verdict."""
    return (
        f"{name}: {what} {_near(drop['points'], limit)}, 95 % [{drop['low']:.2f}, "
        f"{drop['high']:.2f}], gate {limit:g}"
    )


def _agreement(a: str, b: str, pair: dict | None, limit: float) -> Verdict:
    name = f"agreement: {a} / {b}"
    if pair is None:
        return Verdict(name, False, f"{a} / {b}: not compared: fail", "agreement", None, limit)
    value = pair["top1_percent"]
    passed = value >= limit - _SLACK
    line = (
        f"{a} / {b}: agreement {_near(value, limit)} %, gate {limit:g} %: "
        f"{'pass' if passed else 'fail'}"
    )
    return Verdict(name, passed, line, "agreement", value, limit)


def _near(value: float, limit: float) -> str:
    """Two decimals, or more where two would hide on which side of the limit it lies."""
    for decimals in (2, 3, 4):
        text = f"{value:.{decimals}f}"
        if math.isclose(value, limit, abs_tol=_SLACK) or float(text) != limit:
            return text
    return repr(value)
