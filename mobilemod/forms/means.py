"""Which convolutions only take a mean: there is nothing of a network in them to count. No torch."""

from __future__ import annotations

TOLERANCE = 2**-10  # what float16 rounds a weight by


def only_takes_mean(lowest: float, highest: float, count: int) -> bool:
    """Whether weights within `lowest` and `highest`, `count` for each result, are all 1 / count.

    So exporters, these forms among them, write means over channels or windows.
    """
    return count > 1 and all(abs(w * count - 1) <= TOLERANCE for w in (lowest, highest))
