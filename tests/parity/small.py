"""A small network of what targets lower otherwise than XNNPACK, its form and table for a target."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.targets.base import FORMS
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.form import Form
from mobilemod.targets.facts import Facts
from quantization.calibration import Calibration, observe
from quantization.params import ParameterTable
from quantization.program import make_table
from quantization.recipe import load_recipe

SIZE = 32


class Small(nn.Module):
    """Convolutions of two kinds, a norm, attention and pooling: large enough that weights lie in
    blobs, which the file holds apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.deep = nn.Conv2d(3, 32, 4, 4), nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.norm, self.qkv, self.last = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.gelu(self.deep(self.first(x))), 2)
        x = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = (t.unflatten(-1, (2, 16)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.last(x.mean(1))


def small_form(facts: Facts) -> Form:
    """Its form for the target."""
    return canonical_form(Small().eval(), (3, SIZE, SIZE)).form(FORMS[facts.form])


def small_table(
    form: Form, facts: Facts, images: np.ndarray, recipe: str = "cpu"
) -> ParameterTable:
    """Under a recipe, calibrated on float32 (N, 3, 32, 32)."""
    seen = Calibration("", "", len(images), observe(form, [torch.from_numpy(images)], 1))
    return make_table(form, facts.form, load_recipe(recipe), seen)
