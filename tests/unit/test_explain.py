"""What is told of a network's rewrites, and why tensors stay float."""

from __future__ import annotations

import torch
from torch import nn

from export.explain import explained, explanation, float_tensors
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from quantization.calibration import Calibration, observe
from quantization.program import make_table
from quantization.recipe import load_recipe


class Small(nn.Module):
    """A residual of convolution and batch norm, and an op that no rewrite knows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.cumsum(x + self.norm(self.conv(x)), 2)
        return self.head(x.mean((2, 3)))


def test_what_was_done_and_what_stays_float():
    torch.manual_seed(0)
    canonical = canonical_form(Small().eval(), (3, 32, 32))
    found = explained(canonical)
    assert found["rewrites"] == {"scales and shifts folded into the convolution before": 1}
    (left,) = found["left"]
    assert "cumsum" in left and found["ops"]["NamedConv2d"] == 3
    form, recipe = canonical.form(XNNPACK_FORM), load_recipe("cpu")
    seen = observe(form, [torch.randn(2, 3, 32, 32)], 1)
    table = make_table(form, "xnnpack", recipe, Calibration("", "", 2, seen))
    floats = float_tensors(form, table, recipe)
    assert floats["residual stream"] == ["network:residual"]
    assert all(t not in table.entries for tensors in floats.values() for t in tensors)
    text = "\n".join(explanation(found, {"xnnpack": floats}))
    assert "cumsum" in text and "residual stream (network:residual, …)" in text
