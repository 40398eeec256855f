"""Preparation: from a network's canonical form to the weights and ranges that are quantized.

Equalization, compensated rounding, calibration, the check of what it clips, the ranges of norms'
variances, bias correction and learned rounding, in this order and as far as the recipe asks for
them. What equalization and bias correction did is a short list of numbers, kept in the calibration
table, so that the same weights come from the network without images too; roundings need the images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import torch

from mobilemod.closure import code_digest
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import atomic_folder
from mobilemod.forms.canonical import Canonical
from quantization.calibration import (
    FORM,
    OPTIONS,
    Calibration,
    CalibrationImages,
    cache_dir,
    calibrate_on,
    weights_digest,
)
from quantization.placement import int8_modules
from quantization.prepare.bias_correction import Corrections, measure_corrections
from quantization.prepare.clipping import without_harmful_clipping
from quantization.prepare.compensation import compensate
from quantization.prepare.equalization import channel_ranges, choose, equalize
from quantization.prepare.norms import with_relative_variances
from quantization.prepare.pairs import find_pairs
from quantization.prepare.prepared import Prepared, load_prepared
from quantization.prepare.rounding import RoundingConfig, learn_rounding
from quantization.program import make_table
from quantization.recipe import Recipe
from quantization.sensitivity.program import SwitchedProgram

# Bias correction runs its images as one batch.
CORRECTION_IMAGES = 64
ROUNDING = RoundingConfig()


@dataclass(frozen=True)
class Adjustments:
    """What was done to the weights.

    equalization: tensor -> the power of two that divides each channel. bias: convolution ->
    channel -> what is added to its bias.
    """

    equalization: dict[str, tuple[int, ...]] = field(default_factory=dict)
    bias: dict[str, dict[int, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "equalization": {k: list(v) for k, v in self.equalization.items()},
            "bias": {k: {str(i): b for i, b in v.items()} for k, v in self.bias.items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Adjustments:
        """From `to_dict`'s form; an empty one is no adjustment."""
        return cls(
            {k: tuple(v) for k, v in values.get("equalization", {}).items()},
            {k: {int(i): b for i, b in v.items()} for k, v in values.get("bias", {}).items()},
        )


@torch.no_grad()
def adjust(canonical: Canonical, adjustments: Adjustments) -> Canonical:
    """With `adjustments` made; ValueError, KeyError or IndexError where they don't fit.

    A convolution without a bias gets one.
    """
    canonical = equalize(canonical, adjustments.equalization)
    state = canonical.state()
    for module, changes in adjustments.bias.items():
        bias = state.get(f"{module}.bias")
        bias = torch.zeros(len(state[f"{module}.weight"])) if bias is None else bias.clone()
        bias[list(changes)] += torch.tensor(list(changes.values()))
        state[f"{module}.bias"] = bias
    return canonical.with_state(state)


def prepare(
    canonical: Canonical, recipe: Recipe, folder: ImageFolder, preprocess: Preprocess
) -> Prepared:
    """Weights and ranges for `recipe`, from images of `folder`; cached by content."""
    images = CalibrationImages(folder.spread(recipe.calibration_images), preprocess)
    reference = weights_digest(canonical.state())
    cached = cache_dir() / "prepared" / _key(canonical, reference, images, recipe)
    if cached.exists():
        return load_prepared(cached)
    prepared = _prepare(canonical, recipe, images, reference)
    with atomic_folder(cached) as out:
        prepared.save(out)
    return prepared


def _prepare(
    canonical: Canonical, recipe: Recipe, images: CalibrationImages, reference: str
) -> Prepared:
    exponents: dict[str, tuple[int, ...]] = {}
    if recipe.equalization and (pairs := list(find_pairs(canonical.graph))):
        tensors = [pair.tensor for pair in pairs]
        form = canonical.form(OPTIONS)
        ranges = channel_ranges(form, tensors, images.batches(), images.steps)
        exponents = choose(pairs, ranges)
        canonical = equalize(canonical, exponents)
    form = canonical.form(OPTIONS)
    if recipe.rounding == "compensated":
        int8 = {module.tensor for module in int8_modules(form, FORM, recipe)}
        if changed := compensate(form, int8, images):
            canonical = canonical.with_state(canonical.state() | changed)
            form = canonical.form(OPTIONS)
    observed = calibrate_on(form, weights_digest(canonical.state()), images)
    if recipe.clipping_check:
        observed = without_harmful_clipping(form, recipe, observed, images)
    observed = with_relative_variances(form, observed, images)
    bias: dict[str, dict[int, float]] = {}
    if recipe.bias_correction:
        program = SwitchedProgram(form, make_table(form, FORM, recipe, observed))
        bias = sparse(measure_corrections(program, images.first(CORRECTION_IMAGES)))
        canonical = adjust(canonical, Adjustments(bias=bias))
    state = canonical.state()
    if recipe.rounding == "learned":
        form = canonical.form(OPTIONS)
        table = make_table(form, FORM, recipe, observed)
        learn_rounding(form, table, images, ROUNDING)
        state = form.canonical_state()
    done = Adjustments(exponents, bias).to_dict()
    final = dataclasses.replace(observed, weights=weights_digest(state), adjustments=done)
    return Prepared(state, final, reference, "images")


def from_table(canonical: Canonical, table: Calibration, origin: str) -> Prepared:
    """Weights and ranges from a calibration table alone; `UserError` where it doesn't fit."""
    reference = weights_digest(canonical.state())
    try:
        state = adjust(canonical, Adjustments.from_dict(table.adjustments)).state()
    except (ValueError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        raise UserError(f"{origin} doesn't fit the checkpoint ({error})") from None
    if weights_digest(state) != table.weights:
        raise UserError(f"{origin} is of other weights than the checkpoint; give DATA=/path")
    return Prepared(state, table, reference, origin)


def sparse(corrections: Corrections) -> dict[str, dict[int, float]]:
    """Corrections as `Adjustments` hold them, without channels that aren't corrected."""
    found = {}
    for module, change in corrections.items():
        if channels := change.nonzero().flatten().tolist():
            found[module] = {i: float(change[i]) for i in channels}
    return found


def _key(canonical: Canonical, reference: str, images: CalibrationImages, recipe: Recipe) -> str:
    values = {**recipe.to_dict(), "name": "", "description": "", "min_int8_share": 0}
    made = [canonical.structure, code_digest(__name__), torch.__version__]
    text = json.dumps([reference, images.digest, values, *made], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
