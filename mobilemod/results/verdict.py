"""One gate's outcome, and what many of them come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

PASS, UNDECIDED, FAIL = "pass", "undecided", "fail"
# The worst first, as pages list them.
STATES = (FAIL, UNDECIDED, PASS)


@dataclass(frozen=True)
class Verdict:
    """One gate's outcome. state: "pass", "fail" or "undecided". line: for people.

    kind: "drop", "mean drop", "agreement", "gpu" or "presence". reason: why it is undecided, or
    why more images are needed; images_needed: about how many, where more would decide it.
    """

    name: str
    state: str
    line: str
    kind: str = "presence"
    value: float | None = None
    limit: float | None = None
    reason: str | None = None
    images_needed: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the gate passed; an undecided one didn't."""
        return self.state == PASS

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Verdict:
        """From a record's entry."""
        return cls(**{f.name: entry[f.name] for f in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """As a record has it."""
        return {**asdict(self), "passed": self.passed}


def word(passed: bool) -> str:
    """The state of a gate that can always be decided."""
    return PASS if passed else FAIL


def state_of(verdict: Mapping[str, Any]) -> str:
    """The state of a record's verdict; records of earlier versions say `passed` alone."""
    if verdict["passed"]:
        old_sample = "state" not in verdict and ": undecided" in verdict["line"]
        return UNDECIDED if old_sample else PASS
    return UNDECIDED if verdict.get("state") == UNDECIDED else FAIL


def overall(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The worst state of a record's verdicts; "pass" where there is none."""
    return min(map(state_of, verdicts), key=STATES.index, default=PASS)


def headline(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """What a record's verdicts come to, in one line: a pass is said of all or by number."""
    states = [state_of(v) for v in verdicts]
    failed, undecided = states.count(FAIL), states.count(UNDECIDED)
    total = f"{len(states)} gate{'s'[: len(states) != 1]}"
    if failed:
        more = f", {undecided} undecided" if undecided else ""
        return f"{failed} of {total} failed{more}"
    if undecided:
        return f"{states.count(PASS)} of {total} passed, {undecided} undecided: {_why(verdicts)}"
    return f"All {total} passed" if len(states) != 1 else "The one gate passed"


def _why(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Why gates are undecided; what more images can't decide comes first."""
    open_ones = [v for v in verdicts if state_of(v) == UNDECIDED]
    needed = [v.get("images_needed") for v in open_ones]
    for verdict, count in zip(open_ones, needed, strict=True):
        if count is None and verdict.get("reason"):
            return verdict["reason"]
    most = max((n for n in needed if n), default=None)
    return "see below" if most is None else f"about {most:,} images are needed"
