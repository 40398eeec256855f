"""How far a device's answers are from the expected ones, and how far they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.evaluation.runs import NONE

ABSOLUTE = 1e-3
# Single flips of rounding grow: of efficientmod_xxs' logits in WebAssembly to 3 steps on 6 of 1,000
# images, to 4 on 2; on an emulated Cortex-A76 to 3 steps on 3 of 240.
INT8_STEPS = 5
# A half-precision network rounds every value to 11 bits; how that adds up differs by processor.
FLOAT16_SHARE = 0.02
# Shares of a map's pixels. Trained for an epoch, efficientmod_xxs_fpn in int8 gives 0.7 % of them
# another class on other right kernels than XNNPACK's, 2.3 % of the worst of 24 images, and none
# that isn't `settled`; with a fourth of its largest constant lost 0.5 % are left, 3 % in float32.
SETTLED, SETTLED_FLOAT32, UNSETTLED = 0.002, 0.001, 0.03


class Likeness(Protocol):
    """Of answers to n images, (n, …). limit: the error that another processor may make."""

    limit: float

    def errors(self, observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """(n,): how far each is off; not finite where the answer isn't."""

    def distance(self, observed: np.ndarray, expected: np.ndarray) -> float:
        """Between all of them: what explanations are compared by."""

    def details(self, observed: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
        """Of one image's answers (1, …): what a `SelfTest` has beside the error."""


@dataclass(frozen=True)
class Numbers:
    """A number for each output, (n, K). step: of an int8 output, 0 where there is none."""

    limit: float
    step: float = 0.0

    @classmethod
    def of(cls, expected: np.ndarray, precision: str) -> Numbers:
        """By the expected outputs and the file's precision."""
        step = output_step(expected) if precision == "int8" else 0.0
        return cls(tolerance(expected, precision), step)

    def errors(self, observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The largest difference."""
        return np.abs(observed - expected).max(axis=1)

    def distance(self, observed: np.ndarray, expected: np.ndarray) -> float:
        """The root of the mean square."""
        return float(np.sqrt(np.mean((observed.astype(np.float64) - expected) ** 2)))

    def details(self, observed: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
        """Steps of an int8 output, and the SQNR; None where equal or not finite."""
        error = float(self.errors(observed, expected)[0])
        sqnr = float(sqnr_db(expected, observed))
        return {
            "steps": error / self.step if self.step and np.isfinite(error) else None,
            "sqnr_db": sqnr if np.isfinite(sqnr) else None,
        }


@dataclass(frozen=True)
class Maps:
    """A class for each pixel, uint8 (n, pixels)."""

    limit: float

    @classmethod
    def of(cls, precision: str, settled: bool) -> Maps:
        """By the file's precision, and whether maps come as `settled` leaves them."""
        if precision == "float32":
            return cls(SETTLED_FLOAT32)
        return cls(SETTLED if settled else UNSETTLED)

    def errors(self, observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The share of the pixels that differ."""
        shares = (observed != expected).mean(axis=1)
        return np.where((observed == NONE).any(axis=1), np.nan, shares)

    def distance(self, observed: np.ndarray, expected: np.ndarray) -> float:
        """The same of all images."""
        return float((observed != expected).mean())

    def details(self, observed: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
        """Nothing: the share says it."""
        return {}


def tolerance(expected: np.ndarray, precision: str) -> float:
    """The difference from the expected outputs (N, K) that another processor may make."""
    if precision == "int8":
        return ABSOLUTE + INT8_STEPS * output_step(expected)
    if precision == "float16":
        return ABSOLUTE + FLOAT16_SHARE * float(np.abs(expected).max())
    return ABSOLUTE


def output_step(outputs: np.ndarray) -> float:
    """The step of int8 outputs: the least difference between two of them, 0 where all are equal.

    Values come rounded to five decimals, which may part equal ones a little.
    """
    gaps = np.diff(np.unique(outputs))
    gaps = gaps[gaps > 1e-4]
    return float(gaps.min()) if len(gaps) else 0.0


def settled(
    observed: np.ndarray, expected: np.ndarray, outputs: np.ndarray, precision: str
) -> np.ndarray:
    """A device's map without what rounding decides, uint8 (pixels,).

    Where two classes are nearly even, kernels that round otherwise choose either. So a pixel counts
    as expected where this machine's number for the device's class is within `tolerance` of its
    largest. outputs: of the same file here, float32 (K, …).
    """
    if (observed == NONE).any() or observed.max() >= len(outputs):
        return observed
    here = outputs.reshape(len(outputs), -1)
    gap = here.max(axis=0) - here[observed, np.arange(observed.size)]
    return np.where(gap <= tolerance(here, precision), expected, observed)
