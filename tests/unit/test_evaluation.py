"""Statistics, accuracy and agreement against brute force and values known from elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilemod.evaluation import agreement, statistics
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.tasks.classification import TASK
from mobilemod.tasks.classification.accuracy import disagreements, margins, top1, top1_class, top_k


def logits_of(classes: list[int], count: int = 4) -> np.ndarray:
    """float32 (N, count) logits whose top-1 is `classes`."""
    logits = np.zeros((len(classes), count), np.float32)
    logits[np.arange(len(classes)), classes] = 1.0
    return logits


def test_interval_matches_a_bootstrap_over_images():
    rng = np.random.default_rng(5)
    before = rng.random(700) < 0.85
    now = np.where(rng.random(700) < 0.06, ~before, before)
    lost, won = int((before & ~now).sum()), int((~before & now).sum())
    assert lost > 10 and won > 3
    low, high = statistics.paired_interval(lost, won, 700, seed=1)
    drawn = rng.integers(0, 700, size=(20_000, 700))
    drops = 100.0 * (before[drawn].mean(1) - now[drawn].mean(1))
    brute = np.percentile(drops, [2.5, 97.5])
    # One image is 0.14 points: the two may differ by a step of the discrete distribution.
    np.testing.assert_allclose([low, high], brute, atol=0.15)
    point = 100.0 * (lost - won) / 700
    unpaired = 1.96 * 100 * math.sqrt(before.var() / 700 + now.var() / 700)
    assert low < point < high and high - low < 1.6 * unpaired


def test_interval_covers_the_true_drop():
    rng = np.random.default_rng(0)
    shares, covered = [0.03, 0.02, 0.95], 0
    for trial in range(400):
        lost, won, _ = rng.multinomial(1000, shares)
        low, high = statistics.paired_interval(lost, won, 1000, seed=trial, resamples=2000)
        covered += low <= 1.0 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_interval_is_repeatable_and_degenerate_without_change():
    assert statistics.paired_interval(9, 4, 300, 3) == statistics.paired_interval(9, 4, 300, 3)
    assert statistics.paired_interval(0, 0, 50) == (0.0, 0.0)
    for bad in [(1, 0, 0), (-1, 0, 5), (3, 3, 5)]:
        with pytest.raises(ValueError, match="don't fit"):
            statistics.paired_interval(*bad)


@pytest.mark.parametrize(
    ("lost", "won", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 2 / 2**5),
        (1, 7, 2 * (1 + 8) / 2**8),
        (2, 8, 2 * (1 + 10 + 45) / 2**10),
        (10, 25, 0.016673848),  # scipy.stats.binomtest(10, 35).pvalue
    ],
)
def test_mcnemar_known_values(lost: int, won: int, p: float):
    assert statistics.mcnemar_exact(lost, won) == pytest.approx(p, rel=1e-4)
    assert statistics.mcnemar_exact(won, lost) == statistics.mcnemar_exact(lost, won)


@given(st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_twice_the_binomial_tail(lost: int, won: int):
    n, k = lost + won, min(lost, won)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    assert statistics.mcnemar_exact(lost, won) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_mcnemar_takes_large_counts():
    assert 0.0 < statistics.mcnemar_exact(9_800, 10_200) < 0.01


def test_images_needed_gives_the_power_it_promises():
    needed = statistics.images_needed(1.0, 0.04)
    assert needed == math.ceil(((1.959964 * 0.2 + 0.841621 * math.sqrt(0.04 - 1e-4)) / 0.01) ** 2)
    rng = np.random.default_rng(2)
    counts = rng.multinomial(needed, [0.025, 0.015, 0.96], size=1500)
    seen = np.mean([statistics.mcnemar_exact(int(a), int(b)) < 0.05 for a, b, _ in counts])
    assert 0.74 < seen < 0.84
    assert statistics.images_needed(0.5, 0.04) > 3.9 * needed
    assert statistics.images_needed(1.0, 0.04, power=0.95) > needed
    for bad in [(0.0, 0.1), (5.0, 0.04)]:
        with pytest.raises(ValueError, match="discordant"):
            statistics.images_needed(*bad)
    with pytest.raises(ValueError, match="power"):
        statistics.images_needed(1.0, 0.04, power=1.0)


def test_top_k_follows_argmax_in_ties():
    logits = np.array([[1, 1, 0, 1], [0, 2, 2, 2], [3, 3, 3, 3]], np.float32)
    assert top1_class(logits).tolist() == [0, 1, 0]
    assert top_k(logits, [1, 1, 0], 1) == pytest.approx(200 / 3)
    assert top_k(logits, [3, 3, 3], 2) == 0.0
    assert top_k(logits, [3, 3, 3], 3) == pytest.approx(200 / 3)
    assert top_k(logits, [2, 0, 3], 4) == 100.0


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_top_k_matches_a_stable_sort(seed: int, k: int):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 3, size=(20, 6)).astype(np.float32)
    targets = rng.integers(0, 6, 20)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    expected = 100.0 * float((best == targets[:, None]).any(axis=1).mean())
    assert top_k(logits, targets, k) == pytest.approx(expected)
    assert top_k(logits, targets, 1) == pytest.approx(100.0 * top1(logits, targets).mean())


def test_not_finite_is_wrong_and_agrees_with_nothing():
    logits = logits_of([0, 1])
    logits[0, 2] = np.nan
    assert top1(logits, [0, 1]).tolist() == [False, True]
    assert top_k(logits, [0, 1], 4) == 50.0
    assert TASK.agreement_percent(logits, logits) == 50.0
    assert math.isnan(agreement.sqnr_db(logits_of([0, 1]), logits))
    assert agreement.worst_images(logits_of([0, 1]), logits)[0] == (0, math.inf)
    found = disagreements([Predictions("a", logits, "int8")])
    assert [i for i, _ in found] == [0] and found[0][1]["top1"] == [-1]


def test_drop_counts_lost_and_won():
    targets = np.array([0, 1, 2, 3, 0])
    result = TASK.drop(logits_of([0, 1, 2, 0, 0]), logits_of([0, 0, 0, 3, 0]), targets)
    assert (result.lost, result.won, result.points) == (2, 1, pytest.approx(20.0))
    assert result.low < 20.0 < result.high and result.mcnemar_p == 1.0


def test_sqnr_of_known_noise():
    rng = np.random.default_rng(0)
    # More rows than one block, so that blocks are summed and not averaged.
    signal = rng.normal(size=(5000, 3)).astype(np.float32)
    noisy = signal + 0.01 * rng.normal(size=signal.shape).astype(np.float32)
    assert agreement.sqnr_db(signal, noisy) == pytest.approx(40.0, abs=0.2)
    assert agreement.sqnr_db(signal, signal * 1.1) == pytest.approx(20.0, abs=1e-3)
    assert agreement.sqnr_db(signal, signal.copy()) == math.inf


def test_disagreements_compare_int8_files_and_reference_only():
    models = [
        Predictions("torch float", logits_of([0, 1, 2, 3]), "reference"),
        Predictions("quantized program", logits_of([1, 1, 2, 3]), "program"),
        Predictions("tflite int8", logits_of([0, 1, 3, 3]), "int8"),
        Predictions("coreml int8", logits_of([0, 1, 3, 0]), "int8"),
        Predictions("tflite float", logits_of([0, 0, 2, 3]), "float"),
    ]
    found = disagreements(models)
    assert [i for i, _ in found] == [2, 3]
    confidence = pytest.approx([math.e / (math.e + 3)] * 5, rel=1e-6)
    assert found[0][1] == {"top1": [2, 2, 3, 3, 2], "margin": [1.0] * 5, "confidence": confidence}
    assert [i for i, _ in disagreements(models[2:4])] == [3]
    assert disagreements(models[:2]) == disagreements([]) == []
    with pytest.raises(ValueError, match="no images"):
        TASK.agreement_percent(np.zeros((0, 4)), np.zeros((0, 4)))


def test_worst_images_are_sorted_by_rms_error():
    base = np.zeros((4, 2), np.float32)
    other = np.array([[1, 1], [0, 0], [3, 4], [-2, 0]], np.float32)
    got = agreement.worst_images(base, other, 3)
    assert [i for i, _ in got] == [2, 3, 0]
    assert got[0][1] == pytest.approx(math.sqrt(12.5))
    assert margins(other).tolist() == [0.0, 0.0, 1.0, 2.0]
