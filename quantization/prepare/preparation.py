"""Preparation: from a checkpoint to the weights and ranges that are quantized.

Equalization, calibration, bias correction and learned rounding, in this order and as far as the
recipe asks for them. What equalization and bias correction did is a short list of numbers, kept
in the calibration table, so that the same weights come from the checkpoint without images too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mobilemod.closure import code_digest
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import atomic_folder
from mobilemod.forms.mobile import build_mobile, published_state
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from mobilemod.networks.registry import family_of, module_of, network
from quantization.calibration import (
    Calibration,
    CalibrationImages,
    cache_dir,
    calibrate_on,
    weights_digest,
)
from quantization.prepare.bias_correction import measure_corrections
from quantization.prepare.equalization import channel_ranges, choose, equalize, pairs
from quantization.prepare.prepared import Prepared, load_prepared
from quantization.prepare.rounding import RoundingConfig, learn_rounding
from quantization.program import make_table
from quantization.recipe import Recipe
from quantization.sensitivity.program import SwitchedProgram

# The form whose int8 tensors include all others': its ranges serve every form.
FORM, OPTIONS = "xnnpack", XNNPACK_FORM
# Bias correction runs its images as one batch.
CORRECTION_IMAGES = 64
ROUNDING = RoundingConfig()


@dataclass(frozen=True)
class Adjustments:
    """What was done to the published weights.

    equalization: tensor -> the power of two that divides each channel. bias: published module ->
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
def adjust(model: nn.Module, adjustments: Adjustments) -> None:
    """Apply to published weights, in place. ValueError where they don't fit the network."""
    equalize(model, adjustments.equalization)
    for module, changes in adjustments.bias.items():
        bias = model.get_submodule(module).bias
        channels = torch.tensor(list(changes))
        bias[channels] += torch.tensor(list(changes.values()))


def prepare(
    model: nn.Module, recipe: Recipe, folder: ImageFolder, preprocess: Preprocess
) -> Prepared:
    """Weights and ranges for `recipe`, from images of `folder`; cached by content."""
    images = CalibrationImages(folder.spread(recipe.calibration_images), preprocess)
    reference = weights_digest(model.state_dict())
    cached = cache_dir() / "prepared" / _key(module_of(model), reference, images, recipe)
    if cached.exists():
        return load_prepared(cached)
    prepared = _prepare(model, recipe, images, reference)
    with atomic_folder(cached) as out:
        prepared.save(out)
    return prepared


def _prepare(
    model: nn.Module, recipe: Recipe, images: CalibrationImages, reference: str
) -> Prepared:
    model = network(model.variant, model.num_classes, model.state_dict())
    exponents: dict[str, tuple[int, ...]] = {}
    if recipe.equalization:
        tensors = [pair.tensor for pair in pairs(model)]
        ranges = channel_ranges(
            build_mobile(model, OPTIONS), tensors, images.batches(), images.steps
        )
        exponents = choose(model, ranges)
        equalize(model, exponents)
    form = build_mobile(model, OPTIONS)
    observed = calibrate_on(form, weights_digest(model.state_dict()), images)
    bias: dict[str, dict[int, float]] = {}
    if recipe.bias_correction:
        table = make_table(form, FORM, recipe, observed)
        x = images.first(CORRECTION_IMAGES)
        found = measure_corrections(SwitchedProgram(form, table), x)
        bias = published_corrections(model, found)
    done = Adjustments(exponents, bias)
    adjust(model, Adjustments(bias=bias))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if recipe.rounding == "learned":
        form = build_mobile(model, OPTIONS)
        table = make_table(form, FORM, recipe, observed)
        learn_rounding(form, table, images, ROUNDING)
        state = published_state(form)
    final = dataclasses.replace(observed, weights=weights_digest(state), adjustments=done.to_dict())
    return Prepared(state, final, reference, "images")


def from_table(model: nn.Module, table: Calibration, origin: str) -> Prepared:
    """Weights and ranges from a calibration table alone; `UserError` where it doesn't fit."""
    reference = weights_digest(model.state_dict())
    model = network(model.variant, model.num_classes, model.state_dict())
    try:
        adjust(model, Adjustments.from_dict(table.adjustments))
    except (ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise UserError(f"{origin} doesn't fit the checkpoint ({error})") from None
    state = model.state_dict()
    if weights_digest(state) != table.weights:
        raise UserError(f"{origin} is of other weights than the checkpoint; give DATA=/path")
    return Prepared(state, table, reference, origin)


def published_corrections(
    model: nn.Module, found: Mapping[str, Tensor]
) -> dict[str, dict[int, float]]:
    """Corrections of the mobile form's convolutions, by weight tensor, as the published biases'.

    Where the form holds a bias times a factor, the correction is divided by it.
    """
    factor_of = family_of(model).bias_factor
    bias: dict[str, dict[int, float]] = {}
    for tensor, change in found.items():
        module = tensor.removesuffix(":weight").removesuffix(".part0")
        factor = factor_of(model, module)
        if factor is not None:
            change = torch.where(factor.abs() > 1e-6, change / factor, 0.0)
        channels = change.nonzero().flatten().tolist()
        if channels:
            bias[module] = {i: float(change[i]) for i in channels}
    return bias


def _key(family: str, reference: str, images: CalibrationImages, recipe: Recipe) -> str:
    values = {**recipe.to_dict(), "name": "", "description": "", "min_int8_share": 0}
    parts = [reference, images.digest, values, code_digest(__name__, family), torch.__version__]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
