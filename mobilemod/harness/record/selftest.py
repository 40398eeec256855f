"""The golden self-test: whether a device's runtime and its preprocessing are right, and if not,
which fault explains what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mobilemod.data.preprocess import INTERPOLATIONS, Preprocess
from mobilemod.evaluation.agreement import sqnr_db

ABSOLUTE = 1e-3
INT8_STEPS = 3
# A half-precision network rounds every value to 11 bits; how that adds up differs by processor.
FLOAT16_SHARE = 0.02
RUNTIME, PREPROCESSING, RIGHT, UNKNOWN = "runtime", "preprocessing", "right", "not run"
NOT_AVAILABLE, FAILED = "not available", "failed"

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SelfTest:
    """verdict: "right", "runtime" or "preprocessing" (where the fault is), "not available" (the
    device has nothing to run it on), "failed" (an error ended it), or "not run".

    fault: what explains it, for people; None where nothing does. pixels_error, image_error:
    largest difference from the expected outputs over all golden images; tolerance: of the first.
    image: the golden image of `pixels_error`, or one whose outputs aren't finite; steps: that
    difference in steps of an int8 output; sqnr_db: of that image's outputs; None where equal or not
    finite. reason: why it isn't available, or failed. parts_at: the first tensor of the file that
    parts from what it was lowered from, where that can be told.
    """

    verdict: str
    fault: str | None
    pixels_error: float | None
    image_error: float | None
    tolerance: float
    image: int | None = None
    steps: float | None = None
    sqnr_db: float | None = None
    reason: str | None = None
    parts_at: str | None = None


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


# -- what may have gone wrong with an image on its way into the network

Variant = Callable[[Image.Image, Preprocess], np.ndarray]


def _right(image: Image.Image, p: Preprocess) -> np.ndarray:
    return p.normalize(p.pixels(image))


def _of_pixels(change: Callable[[np.ndarray], np.ndarray]) -> Variant:
    return lambda image, p: p.normalize(np.ascontiguousarray(change(p.pixels(image))))


def _scaled(scale: float, shift: float) -> Variant:
    def variant(image: Image.Image, p: Preprocess) -> np.ndarray:
        x = np.moveaxis(p.pixels(image).astype(np.float32), -1, 0)
        return np.ascontiguousarray(x * np.float32(scale) + np.float32(shift))

    return variant


def _other(**changes: Any) -> Variant:
    def variant(image: Image.Image, p: Preprocess) -> np.ndarray:
        return p.normalize(replace(p, **changes).pixels(image))

    return variant


# Faults of the values alone, which an image that is already cropped shows too.
VALUE_FAULTS: dict[str, Variant] = {
    "swapped colour order (BGR for RGB)": _of_pixels(lambda v: v[..., ::-1]),
    "transposed (rows for columns)": _of_pixels(lambda v: v.transpose(1, 0, 2).reshape(v.shape)),
    "mirrored": _of_pixels(lambda v: v[:, ::-1]),
    "upside down": _of_pixels(lambda v: v[::-1]),
    "missing normalization: values 0…255": _scaled(1.0, 0.0),
    "missing normalization: values 0…1, no mean and std": _scaled(1 / 255, 0.0),
    "wrong normalization: values -1…1": _scaled(2 / 255, -1.0),
}
SIZE_FAULTS: dict[str, Variant] = {
    "wrong size: the whole image, resized to the input without the crop": _other(crop_fraction=1.0),
    "wrong size: a crop of 0.875": _other(crop_fraction=0.875),
    "wrong size: a crop of 0.8": _other(crop_fraction=0.8),
    **{f"wrong resampling: {name}": _other(interpolation=name) for name in INTERPOLATIONS},
}


def judge(
    expected: np.ndarray,
    precision: str,
    answered: Mapping[str, Mapping[int, np.ndarray]],
    images: Sequence[Image.Image],
    preprocess: Preprocess,
    run: Run | None,
) -> SelfTest:
    """The verdict on one configuration.

    expected: the manifest's outputs of the file (N, K). answered: by source ("pixels", "image") and
    number of the golden image the device's outputs (K,). images: the N golden images. run: the same
    file on this machine, x (n, 3, H, W) to (n, K); None where nothing here runs it: no fault is
    explained then, nor the device's own preprocessing judged.
    """
    limit = tolerance(expected, precision)
    pixels, own = answered.get("pixels", {}), answered.get("image", {})
    if not pixels:
        return SelfTest(UNKNOWN, None, None, None, limit)
    image, pixels_error = _largest(pixels, expected)
    step = output_step(expected) if precision == "int8" else 0.0
    steps = pixels_error / step if step and pixels_error is not None else None
    sqnr = _finite(sqnr_db(expected[image][None], pixels[image][None]))
    found = SelfTest(RUNTIME, None, pixels_error, None, limit, image, steps, sqnr)
    image_fault, image_right = None, True
    if own and run is not None:
        numbers = sorted(own)
        chosen = [images[n] for n in numbers]
        observed = np.stack([own[n] for n in numbers])
        right = run(np.stack([_right(i, preprocess) for i in chosen]))
        found = replace(found, image_error=_finite(np.abs(observed - right).max()))
        if not np.abs(observed - right).max() <= limit:
            faults = {
                k: v
                for k, v in {**VALUE_FAULTS, **SIZE_FAULTS}.items()
                if k != f"wrong resampling: {preprocess.interpolation}"
            }
            image_right, image_fault = _explain(observed, right, chosen, faults, preprocess, run)
    if pixels_error is not None and pixels_error <= limit:
        verdict = RIGHT if image_right else PREPROCESSING
        return replace(found, verdict=verdict, fault=image_fault)
    if run is None:
        return found
    # The crop is done: an image that is as large as the input goes through the other steps alone.
    numbers = sorted(pixels)
    cropped = replace(preprocess, crop_fraction=1.0)
    observed = np.stack([pixels[n] for n in numbers])
    chosen = [images[n] for n in numbers]
    _, fault = _explain(observed, expected[numbers], chosen, VALUE_FAULTS, cropped, run)
    return found if fault is None else replace(found, verdict=PREPROCESSING, fault=fault)


def _largest(answers: Mapping[int, np.ndarray], expected: np.ndarray) -> tuple[int, float | None]:
    """(the image that is farthest off, by how much); None for one that isn't finite."""
    errors = {n: float(np.abs(outputs - expected[n]).max()) for n, outputs in answers.items()}
    worst = max(errors, key=lambda n: errors[n] if np.isfinite(errors[n]) else np.inf)
    return worst, _finite(errors[worst])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _explain(
    observed: np.ndarray,
    right: np.ndarray,
    images: Sequence[Image.Image],
    faults: Mapping[str, Variant],
    preprocess: Preprocess,
    run: Run,
) -> tuple[bool, str | None]:
    """(whether what is observed is nearest to what is right, else the fault that explains it).

    Resizing differs a little between platforms, so what counts is which explanation is nearest;
    one that leaves more than half of the difference explains nothing.
    """
    if not np.isfinite(observed).all():
        return False, None
    own = _distance(observed, right)
    found = {
        name: _distance(observed, run(np.stack([fault(i, preprocess) for i in images])))
        for name, fault in faults.items()
    }
    name = min(found, key=found.__getitem__)
    if own <= found[name]:
        return True, None
    return False, name if found[name] <= 0.5 * own else None


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
