"""Paired statistics: what a difference between two models on the same images is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(1.0 - (1.0 - CONFIDENCE) / 2.0)


def percentile_interval(drawn: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The 95 % interval that a bootstrap's resampled figures span."""
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return float(low), float(high)


def paired_interval(
    lost: int, won: int, total: int, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of `100 * (lost - won) / total`, in points.

    Each image has one of three outcomes: lost (right before, wrong now), won, or the same.
    Drawing `total` images with replacement and counting outcomes is one multinomial draw, so
    the bootstrap over images (Efron 1979) needs no loop over images. With no lost and no won
    image there is nothing to resample and the interval is (0, 0).

    Raises ValueError for counts that don't fit `total`.
    """
    if total <= 0 or lost < 0 or won < 0 or lost + won > total:
        raise ValueError(f"lost {lost}, won {won} don't fit {total} images")
    rng = np.random.default_rng(seed)
    shares = [lost / total, won / total, (total - lost - won) / total]
    counts = rng.multinomial(total, shares, size=resamples)
    drops = 100.0 * (counts[:, 0] - counts[:, 1]) / total
    return percentile_interval(drops)


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of the mean of `values`, float (N,), one of each image.

    Raises ValueError for no values.
    """
    if len(values) == 0:
        raise ValueError("no images: their mean is undefined")
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    return percentile_interval(means)


def upper_end(lost: int, won: int, total: int) -> float:
    """Upper end of a 95 % interval of the drop in points that also holds for few differences.

    Half an image is added to either kind of difference and one to the images that agree twice:
    Agresti and Min, Statistics in Medicine 24 (2005). With no lost and no won image the bootstrap's
    interval is (0, 0), however few images there were; this one is as wide as so few allow.

    Raises ValueError for counts that don't fit `total`.
    """
    if total <= 0 or lost < 0 or won < 0 or lost + won > total:
        raise ValueError(f"lost {lost}, won {won} don't fit {total} images")
    a, b, n = lost + 0.5, won + 0.5, total + 2
    mean = (a - b) / n
    spread = math.sqrt(max((a + b) / n - mean**2, 0.0) / n)
    return 100.0 * (mean + Z * spread)


def mcnemar_exact(lost: int, won: int) -> float:
    """Two-sided exact McNemar p-value: `lost` of `lost + won` under a fair coin.

    McNemar 1947, in its binomial form; exact integers, so no count is too large.
    """
    if lost < 0 or won < 0:
        raise ValueError(f"lost {lost} and won {won} must not be negative")
    discordant = lost + won
    tail, term = 0, 1
    for k in range(min(lost, won) + 1):
        tail += term
        term = term * (discordant - k) // (k + 1)
    # An int over an int is rounded once, whatever their size.
    return min(1.0, 2 * tail / 2**discordant)


def images_needed(drop: float, discordant_rate: float, power: float = 0.8) -> int:
    """Images needed to tell a top-1 drop of `drop` points from none, two-sided at 5 %.

    `discordant_rate` is the share (0 to 1) of images on which just one of the two models is
    right; `power` the chance to see the drop. Formula: Connor, Biometrics 43 (1987), for
    McNemar's test.

    Raises ValueError where the drop is 0 or larger than the discordant rate allows.
    """
    d = abs(drop) / 100.0
    if not 0.0 < d <= discordant_rate <= 1.0:
        raise ValueError(
            f"a drop of {drop} points needs 0 < drop / 100 <= discordant_rate <= 1, "
            f"not a discordant_rate of {discordant_rate}"
        )
    if not 0.0 < power < 1.0:
        raise ValueError(f"power {power} is not between 0 and 1")
    z_beta = NormalDist().inv_cdf(power)
    spread = Z * math.sqrt(discordant_rate) + z_beta * math.sqrt(discordant_rate - d * d)
    return math.ceil((spread / d) ** 2)


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share in percent, `right` of `total`: Wilson's score interval (1927).

    Raises ValueError for counts that don't fit.
    """
    if not 0 <= right <= total or total == 0:
        raise ValueError(f"{right} of {total} is no share")
    share, weight = right / total, Z * Z / total
    middle = (share + weight / 2.0) / (1.0 + weight)
    spread = Z * math.sqrt(share * (1.0 - share) / total + weight / (4.0 * total))
    half = spread / (1.0 + weight)
    return 100.0 * max(middle - half, 0.0), 100.0 * min(middle + half, 1.0)
