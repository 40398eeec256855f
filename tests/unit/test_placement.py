"""Which tensors are int8: not those that only float ops make and read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from quantization.calibration import Calibration, observe
from quantization.placement import int8_modules
from quantization.program import make_table, quantize
from quantization.recipe import bundled_recipes, load_recipe

SIZE = 16


class Parts(nn.Module):
    """Products: of int8 and float factors for a convolution, and for float ops alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.keys = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 1)
        self.scores, self.out = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 8, 1)
        self.gate, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        weights = torch.softmax(self.scores(x).flatten(2), -1)
        context = (self.keys(x).flatten(2) * weights).sum(-1)[..., None, None]
        x = self.out(torch.relu(x) * context)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def form():
    return canonical_form(Parts().eval(), (3, SIZE, SIZE)).form(XNNPACK_FORM)


def test_a_tensor_between_float_ops_stays_float(form):
    held = {m.tensor for m in int8_modules(form, "xnnpack", load_recipe("cpu"))}
    every = {m.tensor for m in int8_modules(form, "xnnpack", load_recipe("npu"))}
    # keys times softmax, for a mean; what a convolution reads stays, as does what int8 ops make.
    assert {"network:product", "network:pooled"} <= every - held
    assert {"network:product2", "keys:out", "stem:relu", "gate:sigmoid", "out:pooled"} <= held
    assert held < every


@pytest.mark.parametrize("recipe", sorted(bundled_recipes()))
def test_the_program_holds_what_is_placed(form, recipe):
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    seen = Calibration("", "", 2, observe(form, [x], 1))
    table = make_table(form, "xnnpack", load_recipe(recipe), seen)
    placed = {m.tensor for m in int8_modules(form, "xnnpack", load_recipe(recipe))}
    assert set(table.entries) == placed
    with torch.no_grad():
        assert torch.isfinite(quantize(form, table, True)(x)).all()
