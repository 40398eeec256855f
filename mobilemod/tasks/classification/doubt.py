"""Whether the float network's answers can be what int8 is measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobilemod.evaluation.statistics import mcnemar_exact, upper_end, wilson

CAUSE = "the reference is not this model's, or the labels aren't"
# Rounding moves answers either way, and no gate's width makes a gain of more points likely.
GAIN = 0.5
# Several files are judged at once, and on few images the interval alone calls chance a gain.
SIGNIFICANCE = 0.01
# Of the way from chance to all right: labels in another order leave about so many right by luck.
SKILL = 0.05


@dataclass(frozen=True)
class Reference:
    """The float network on the measured images.

    top1_percent: 0 to 100, of `images`. classes: how many have images; of: how many it knows.
    """

    top1_percent: float
    images: int
    classes: int
    of: int

    def doubt(self, drop: Mapping[str, Any]) -> str | None:
        """Why a drop decides nothing, for people; None where it does.

        drop: `points`, `low`, `high`, and where they are known `lost`, `won`. Doubtful is a float
        network near chance, and a gain whose whole 95 % interval is beyond 0.5 points and whose
        McNemar p is below 0.01, where it is known.
        """
        return near_chance(self) or _gain(drop, self)


def near_chance(reference: Reference) -> str | None:
    """Why a float network says nothing of its images: its top-1 is that of guesses.

    Chance is one of the classes that have images; with a single one, one of those that it knows.
    Its top-1 has to be above 5 % of the way from there to all right, and the 95 % interval of it
    (Wilson's) above chance itself.
    """
    images = reference.images
    choices = reference.classes if reference.classes > 1 else reference.of
    if not images or choices < 2:
        return None
    chance = 100.0 / choices
    least = chance + SKILL * (100.0 - chance)
    low, high = wilson(round(reference.top1_percent * images / 100.0), images)
    near = reference.top1_percent <= least
    if low > chance and not near:
        return None
    said = f"torch float {reference.top1_percent:.2f} %, 95 % [{low:.2f}, {high:.2f}]"
    if not near:
        return f"{said}: {images:,} images are too few to tell it from chance, {chance:.2f} %"
    return f"{said}, is near chance, {chance:.2f} %: {CAUSE}"


def _gain(drop: Mapping[str, Any], reference: Reference) -> str | None:
    high = drop["high"]
    if drop.get("lost") is not None:
        lost, won = drop["lost"], drop["won"]
        high = max(high, upper_end(lost, won, reference.images))
        if mcnemar_exact(lost, won) >= SIGNIFICANCE:
            return None
    if high >= -GAIN:
        return None
    return f"{-drop['points']:.2f} points better than torch float can't come of int8: {CAUSE}"
