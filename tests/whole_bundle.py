"""A small bundle with all parts: a narrow network with prepared weights, and two tiny model files,
which aren't lowered from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from export.targets.base import FORMS
from mobilemod.forms.canonical import canonical_form
from mobilemod.manifest import seal_bundle
from quantization.calibration import Calibration, observe, weights_digest
from quantization.prepare.prepared import Prepared
from quantization.program import make_table
from quantization.recipe import load_recipe
from tests.manifests import checkpoint, read_manifest, write_float
from tests.tiny_bundle import SIZE, make_bundle

if TYPE_CHECKING:
    from mobilemod.networks.efficientmod import EfficientMod

TABLE = "parameters-xnnpack.json"


def make_whole_bundle(folder: Path, network: EfficientMod) -> Path:
    """The bundle in `folder`, which is returned; network: float, of ten classes."""
    make_bundle(folder)
    canonical = canonical_form(network, (3, SIZE, SIZE))
    reference = write_float(folder, canonical)
    changed = {k: v * 1.001 for k, v in canonical.state().items()}
    form = canonical.with_state(changed).form(FORMS["xnnpack"])
    pictures = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    recipe = load_recipe("cpu")
    ranges = Calibration(weights_digest(changed), "images", 4, observe(form, [pictures], 1))
    Prepared(changed, ranges, reference, "images").save(folder)
    make_table(form, "xnnpack", recipe, ranges).save(folder / TABLE)
    text = json.dumps({**recipe.to_dict(), "calibration_images": 4})
    (folder / "recipe.json").write_text(text, "utf-8")
    values = {**read_manifest(folder), "model": network.variant.name}
    seal_bundle(folder, {**values, "checkpoint": checkpoint(reference)})
    return folder
