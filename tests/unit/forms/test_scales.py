"""Scales and shifts by one number or one a channel: where they go, and where they must stay."""

import pytest
import torch
from torch import nn

from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM
from mobilemod.forms.ops import Affine, Call

SHAPE = (3, 8, 8)
GATES = "sums of a tensor and its product joined"
FACTORS = "factors moved to a product's smaller factor"
SHIFTS = "shifts moved behind sums"


class Gated(nn.Module):
    """A convolution, something with its result, a convolution."""

    def __init__(self, between, padding=0):
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 6, 1), between
        self.last = nn.Conv2d(6, 4, 3, padding=padding)
        self.scale = nn.Parameter(torch.randn(1, 6, 1, 1))
        self.shift = nn.Parameter(torch.randn(1, 6, 1, 1))

    def forward(self, x):
        return self.last(self.between(self, torch.tanh(self.first(x)))).flatten(1)


def gate(x):
    return torch.sigmoid(x.mean((2, 3), keepdim=True))


def canonical_of(between, padding=0):
    torch.manual_seed(0)
    module = Gated(between, padding).eval()
    made = canonical_form(module, SHAPE)
    x = torch.randn(3, *SHAPE)
    for options in (XNNPACK_FORM, COREML_FORM):
        with torch.no_grad():
            torch.testing.assert_close(made.form(options)(x), module(x), rtol=1e-4, atol=1e-5)
    return made


def sums(made):
    return [n for n in made.graph.nodes if isinstance(n.op, Call) and n.op.name == "add.Tensor"]


def test_a_scaled_product_is_scaled_at_its_smaller_factor():
    made = canonical_of(lambda m, x: torch.tanh(x * gate(x) * m.scale))
    assert made.rewrites[FACTORS] == 1
    assert all(n.shape[2:] == (1, 1) for n in made.graph.of(Affine))


def test_a_scale_of_one_is_gone():
    made = canonical_of(lambda m, x: torch.tanh(nn.LayerNorm(6)(x.movedim(1, 3)).movedim(3, 1) * x))
    assert not list(made.graph.of(Affine))


def test_factors_of_one_size_stay():
    made = canonical_of(lambda m, x: torch.tanh(x * torch.sigmoid(x) * m.scale))
    assert made.rewrites[FACTORS] == 0


def test_a_product_and_its_tensor_are_one_product():
    made = canonical_of(lambda m, x: x * gate(x) * m.scale + m.shift + x)
    assert made.rewrites[GATES] == made.rewrites[SHIFTS] == made.rewrites[FACTORS] == 1
    assert not sums(made)


@pytest.mark.parametrize(
    "between",
    [
        lambda m, x: x * gate(x) + torch.exp(x),
        lambda m, x: x * torch.sigmoid(x) + x,
        lambda m, x: (y := x * gate(x)) + x + torch.exp(y),
    ],
    ids=["another tensor", "a factor as large", "read elsewhere too"],
)
def test_other_sums_stay(between):
    made = canonical_of(between)
    assert made.rewrites[GATES] == 0
    assert sums(made)


def test_a_shift_stays_before_a_sum_whose_convolution_pads():
    made = canonical_of(lambda m, x: x * gate(x) + m.shift + x, padding=1)
    assert made.rewrites[SHIFTS] == 0


def test_numbers_added_are_folded():
    made = canonical_of(lambda m, x: nn.functional.hardsigmoid(m.first.weight.sum() * x + 2.0))
    kinds = [n.op.name for n in made.graph.of(Call)]
    assert kinds == ["tanh.default", "clamp.default"]
    assert len(list(made.graph.of(Affine))) == 1
