"""What was asked of our files against the others, and what was measured."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measure.series import Ratio, ratio
from benchmarks.routes.candidates import Candidate
from benchmarks.routes.plain_routes import FLOAT, INT8, PUBLISHED

AT_LEAST: Callable[[float, float], bool] = operator.ge
AT_MOST: Callable[[float, float], bool] = operator.le
PLAIN_PTE, PLAIN_TFLITE = 4.0, 7.0
OWN_FLOAT = 2.0
ORT_FLOAT, ORT_INT8 = 0.5, 0.8
TWO_THREADS = 1.6


@dataclass(frozen=True)
class Check:
    """One line: what is compared, the limit (None: for information), the measured ratio.

    measured is None where a file is missing; peer says which file ours was held against.
    """

    text: str
    threads: str
    peer: str
    limit: float | None
    holds: Callable[[float, float], bool]
    measured: Ratio | None

    @property
    def asked(self) -> str:
        """The limit as text."""
        if self.limit is None:
            return "–"
        return f"{'≥' if self.holds is AT_LEAST else '≤'} {self.limit:g}"

    @property
    def verdict(self) -> str:
        """ "pass" or "fail" by the median; "unclear" where the interval holds the limit."""
        if self.measured is None:
            return "not measured"
        if self.limit is None:
            return ""
        low, high = (self.holds(v, self.limit) for v in (self.measured.low, self.measured.high))
        verdict = "pass" if self.holds(self.measured.median, self.limit) else "fail"
        return verdict if low == high else f"{verdict}, unclear"


def all_checks(rows: Sequence[Candidate], threads: Sequence[int]) -> list[Check]:
    """Every check of one model, for each thread count, then two threads against one."""
    checks = [c for n in threads for c in _of_threads(rows, n)]
    if 1 in threads and 2 in threads:
        for suffix in (".pte", ".tflite"):
            ours = our_row(rows, suffix, INT8, 1)
            measured = ratio(ours.rounds(1), ours.rounds(2)) if ours else None
            text = f"our int8 {suffix}: two threads faster by"
            checks.append(Check(text, "1 / 2", "itself", TWO_THREADS, AT_LEAST, measured))
    return checks


def _of_threads(rows: Sequence[Candidate], n: int) -> Iterator[Check]:
    plain = [r for r in rows if not r.ours and r.form == PUBLISHED and r.times.get(n)]
    best = {
        (suffix, precision): _fastest(plain, n, suffix, precision)
        for suffix in (".pte", ".tflite", ".onnx")
        for precision in (FLOAT, INT8, "any")
    }
    recipes = dict.fromkeys(["", *(r.recipe for r in rows)])
    limits = {".pte": PLAIN_PTE, ".tflite": PLAIN_TFLITE}
    for suffix, recipe in itertools.product(limits, recipes):
        limit = limits[suffix]
        ours = our_row(rows, suffix, INT8, n, recipe)
        name = f"our int8 {suffix}" + (f", {recipe}" if recipe else "")
        twin = our_row(rows, suffix, FLOAT, n)
        yield _faster(f"{name}: faster than the best plain int8 {suffix}", n, ours,
                      best[suffix, INT8], limit)  # fmt: skip
        yield _faster(f"{name}: faster than the best plain {suffix} of any kind", n, ours,
                      best[suffix, "any"], None)  # fmt: skip
        yield _faster(f"{name}: faster than our float {suffix}", n, ours, twin, OWN_FLOAT)
        for precision, share in ((FLOAT, ORT_FLOAT), (INT8, ORT_INT8)):
            peer = best[".onnx", precision]
            measured = ratio(ours.rounds(n), peer.rounds(n)) if ours and peer else None
            text = f"{name}: share of ONNX Runtime {precision}'s time"
            yield Check(text, str(n), peer.key if peer else "–", share, AT_MOST, measured)


def _faster(
    text: str, n: int, ours: Candidate | None, peer: Candidate | None, limit: float | None
) -> Check:
    measured = ratio(peer.rounds(n), ours.rounds(n)) if ours and peer else None
    return Check(text, str(n), peer.key if peer else "–", limit, AT_LEAST, measured)


def our_row(
    rows: Sequence[Candidate], suffix: str, precision: str, n: int, recipe: str = ""
) -> Candidate | None:
    """Our file of a kind that was timed with `n` threads; recipe: "" is the default one."""
    wanted = (suffix, precision, recipe)
    fit = (r for r in rows if r.ours and (r.suffix, r.precision, r.recipe) == wanted)
    return next((r for r in fit if r.times.get(n)), None)


def _fastest(rows: Sequence[Candidate], n: int, suffix: str, precision: str) -> Candidate | None:
    """The fastest plain file of a kind; "any" precision takes all."""
    fit = [r for r in rows if r.suffix == suffix and precision in (r.precision, "any")]
    return min(fit, key=lambda r: r.spread(n).median, default=None)
