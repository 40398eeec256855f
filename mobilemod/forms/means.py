"""Which convolutions only take a mean: there is nothing of a network in them to count. No torch."""

from __future__ import annotations

TOLERANCE = 2**-10  # what float16 rounds a weight by


def only_takes_mean(lowest: float, highest: float, count: int) -> bool:
    """Whether weights within `lowest` and `highest`, `count` for each result, are all the same.

    So exporters, these forms among them, write means over channels or windows; converters fold what
    a mean is multiplied by into it.
    """
    same = highest - lowest <= TOLERANCE * max(abs(lowest), abs(highest))
    return count > 1 and lowest * highest > 0 and same
