"""The numbers that options and gates take: each range said once, checked before any work."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from mobilemod.errors import UserError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high` (both taken, `low` not where `above`), in `unit`.

    whole: whole numbers only. Called with an option's text it gives the number, as argparse's
    `type` does.
    """

    low: float
    high: float
    unit: str = ""
    whole: bool = False
    above: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        edge = "above" if self.above else "from"
        unit = f" {self.unit}" if self.unit else ""
        return f"{kind} {edge} {self.low:,.10g} to {self.high:,.10g}{unit}"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        over = value > self.low if self.above else value >= self.low
        return over and value <= self.high and (isinstance(value, int) or math.isfinite(value))

    def __call__(self, text: str) -> int | float:
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = None
        if value not in self:
            raise argparse.ArgumentTypeError(f"{text!r}: give {self}")
        return value

    def check(self, name: str, value: object) -> None:
        """Raises `UserError` where `value` is outside."""
        if value not in self:
            raise UserError(f"{name} must be {self}, not {value!r}")

    def list(self, text: str) -> tuple[int | float, ...]:
        """Several by commas, none of them twice, as argparse's `type`."""
        values = tuple(self(part.strip()) for part in text.split(","))
        if len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"{text!r}: a number stands there twice")
        return values


IMAGES = Range(1, 100_000_000, "images", whole=True)
POINTS = Range(0, 100, "points")
# An interval's upper end is above 0 with any number of images.
UPPER = Range(0, 100, "points", above=True)
PERCENT = Range(0, 100, "percent")
MILLISECONDS = Range(0, 3_600_000, "milliseconds", above=True)
TIMES = Range(0, 1000, "times", above=True)
SECONDS = Range(0, 86_400, "seconds")
CLASSES = Range(1, 100_000, "classes", whole=True)
THREADS = Range(1, 256, "threads", whole=True)
RUNS = Range(1, 1_000_000, "runs", whole=True)
# A family's networks take multiples of some step, other networks what they were made for.
SIDE = Range(16, 1024, "pixels", whole=True)
PIXELS = Range(32, 1024, "pixels", whole=True)
STEPS = Range(1, 100_000_000, "steps", whole=True)
RATE = Range(0, 10, above=True)
NICE = Range(0, 19, whole=True)
SEED = Range(0, 2**32 - 1, whole=True)
PORT = Range(0, 65_535, whole=True)
