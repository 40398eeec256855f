"""The golden self-test: whether a device's runtime and its preprocessing are right, and if not,
which fault explains what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mobilemod.data.preprocess import INTERPOLATIONS, Preprocess
from mobilemod.harness.record.likeness import Likeness

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
    finite. Of maps the errors are the share of one image's pixels that differ, for `pixels` beyond
    what rounding decides where this machine runs the file; steps and sqnr_db are None. reason: why
    it isn't available, or failed. parts_at: the first tensor of the file that parts from what it
    was lowered from, where that can be told.
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
    likeness: Likeness,
    answered: Mapping[str, Mapping[int, np.ndarray]],
    images: Sequence[Image.Image],
    preprocess: Preprocess,
    run: Run | None,
) -> SelfTest:
    """The verdict on one configuration.

    expected: the manifest's answers of the file, (N, K) or maps (N, pixels). likeness: what they
    are held to. answered: by source ("pixels", "image") and number of the golden image the device's
    answers (K,). images: the N golden images. run: the same file on this machine, x (n, 3, H, W) to
    (n, K); None where nothing here runs it: no fault is explained then, nor the device's own
    preprocessing judged.
    """
    limit = likeness.limit
    pixels, own = answered.get("pixels", {}), answered.get("image", {})
    if not pixels:
        return SelfTest(UNKNOWN, None, None, None, limit)
    numbers = sorted(pixels)
    observed, wanted = np.stack([pixels[n] for n in numbers]), expected[numbers]
    errors = likeness.errors(observed, wanted)
    worst = int(np.argmax(np.where(np.isfinite(errors), errors, np.inf)))
    details = likeness.details(observed[worst][None], wanted[worst][None])
    pixels_error = _finite(errors[worst])
    found = SelfTest(RUNTIME, None, pixels_error, None, limit, numbers[worst], **details)
    image_fault, image_right = None, True
    if own and run is not None:
        seen = [images[n] for n in sorted(own)]
        theirs = np.stack([own[n] for n in sorted(own)])
        right = run(np.stack([_right(i, preprocess) for i in seen]))
        error = likeness.errors(theirs, right).max()
        found = replace(found, image_error=_finite(error))
        if not error <= limit:
            faults = {
                k: v
                for k, v in {**VALUE_FAULTS, **SIZE_FAULTS}.items()
                if k != f"wrong resampling: {preprocess.interpolation}"
            }
            explained = _explain(theirs, right, seen, faults, preprocess, run, likeness)
            image_right, image_fault = explained
    if pixels_error is not None and pixels_error <= limit:
        verdict = RIGHT if image_right else PREPROCESSING
        return replace(found, verdict=verdict, fault=image_fault)
    if run is None:
        return found
    # The crop is done: an image that is as large as the input goes through the other steps alone.
    cropped = replace(preprocess, crop_fraction=1.0)
    chosen = [images[n] for n in numbers]
    _, fault = _explain(observed, wanted, chosen, VALUE_FAULTS, cropped, run, likeness)
    return found if fault is None else replace(found, verdict=PREPROCESSING, fault=fault)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _explain(
    observed: np.ndarray,
    right: np.ndarray,
    images: Sequence[Image.Image],
    faults: Mapping[str, Variant],
    preprocess: Preprocess,
    run: Run,
    likeness: Likeness,
) -> tuple[bool, str | None]:
    """(whether what is observed is nearest to what is right, else the fault that explains it).

    Resizing differs a little between platforms, so what counts is which explanation is nearest;
    one that leaves more than half of the difference explains nothing.
    """
    if not np.isfinite(likeness.errors(observed, right)).all():
        return False, None
    own = likeness.distance(observed, right)
    found = {
        name: likeness.distance(observed, run(np.stack([fault(i, preprocess) for i in images])))
        for name, fault in faults.items()
    }
    name = min(found, key=found.__getitem__)
    if own <= found[name]:
        return True, None
    return False, name if found[name] <= 0.5 * own else None
