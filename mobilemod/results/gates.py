"""Gates: the limits that decide whether a validation passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mobilemod.results.schema import int8_pairs, validate_record

_SLACK = 1e-9  # 0.5 points computed in floating point still meets a gate of 0.5


@dataclass(frozen=True)
class Gates:
    """max_drop: top-1 points an int8 file may lose; min_agreement: percent for int8 pairs."""

    max_drop: float = 0.5
    min_agreement: float = 99.0


@dataclass(frozen=True)
class Verdict:
    """One gate's outcome. line: for people. kind: "drop", "agreement" or "presence"."""

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
    verdicts = [_drop(p, gates.max_drop) for p in int8]
    pairs = int8_pairs(record)
    return verdicts + [_agreement(a, b, pair, gates.min_agreement) for a, b, pair in pairs]


def judged(record: dict, verdicts: Sequence[Verdict]) -> dict:
    """A copy of `record` with its verdicts, as it is written to JSON."""
    return {**record, "verdicts": [asdict(v) for v in verdicts]}


def _drop(prediction: dict, limit: float) -> Verdict:
    name, drop = prediction["name"], prediction["drop"]
    if drop is None:
        line = f"{name}: drop not known, no torch float reference: fail"
        return Verdict(f"drop: {name}", False, line, "drop", None, limit)
    passed = drop["points"] <= limit + _SLACK
    line = (
        f"{name}: drop {_near(drop['points'], limit)}, 95 % [{drop['low']:.2f}, "
        f"{drop['high']:.2f}], gate {limit:g}: {'pass' if passed else 'fail'}"
    )
    return Verdict(f"drop: {name}", passed, line, "drop", drop["points"], limit)


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
