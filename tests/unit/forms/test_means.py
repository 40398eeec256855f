"""Means over positions: as delegates know them."""

import pytest
import torch
from torch import nn

from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from mobilemod.forms.ops import Call


class Mean(nn.Module):
    """The mean of a convolution's result over some dimensions."""

    def __init__(self, dims):
        super().__init__()
        self.conv, self.dims = nn.Conv2d(3, 5, 1), dims

    def forward(self, x):
        y = self.conv(x)
        return torch.tanh(y * y.mean(self.dims, keepdim=True)).flatten(1)


@pytest.mark.parametrize(
    ("dims", "window"), [((2,), [6, 1]), ((3,), [1, 8]), ((2, 3), None), ((1, 2), None)]
)
def test_a_mean_over_one_dimension_of_an_image_is_a_window(dims, window):
    torch.manual_seed(0)
    module = Mean(dims).eval()
    made = canonical_form(module, (3, 6, 8))
    x = torch.randn(2, 3, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(made.form(XNNPACK_FORM)(x), module(x))
    windows = [n for n in made.graph.of(Call) if n.op.kind == "avg_pool2d"]
    assert [n.op.args[1] for n in windows] == ([window] if window else [])
    # Its values lie closer together than the image's: it has a range of its own.
    assert all(n.role == "mean" and n.source is None for n in windows)


@pytest.mark.parametrize(
    ("options", "delegated"),
    [
        ({"kernel_size": 3, "stride": 1, "padding": 1}, True),
        ({"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}, True),
        ({"kernel_size": 2}, True),
        ({"kernel_size": 2, "ceil_mode": True}, True),
        ({"kernel_size": (3, 2), "stride": 2, "padding": (1, 0), "divisor_override": 5}, True),
        ({"kernel_size": 3, "stride": 2, "ceil_mode": True}, False),
    ],
)
def test_zeros_that_count_are_padded_before_the_pooling(options, delegated):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AvgPool2d(**options), nn.Tanh(), nn.Flatten())
    made = canonical_form(layers.eval(), (3, 6, 8))
    x = torch.randn(2, 3, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(made.form(XNNPACK_FORM)(x), layers(x))
    (pool,) = (n.op for n in made.graph.of(Call) if n.op.kind == "avg_pool2d")
    ceil, counted = pool.args[4:6]
    assert (not ceil and not counted) == delegated


@pytest.mark.parametrize("kind", ["Avg", "Max"])
def test_one_window_larger_than_the_image_is_a_reduction(kind):
    """A runtime would fill it: one of 1280 x 1280 on 7 x 7 takes most of EfficientNet's time."""
    torch.manual_seed(0)
    pool = getattr(nn, f"{kind}Pool2d")(1280, ceil_mode=True)
    layers = nn.Sequential(nn.Conv2d(3, 5, 1), pool, nn.Tanh(), nn.Flatten()).eval()
    made = canonical_form(layers, (3, 6, 8))
    x = torch.randn(2, 3, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(made.form(XNNPACK_FORM)(x), layers(x))
    sizes = [n.op.args[1] for n in made.graph.of(Call) if n.op.kind == "max_pool2d"]
    assert sizes == ([[6, 8]] if kind == "Max" else [])
    assert not any(n.op.kind == "avg_pool2d" for n in made.graph.of(Call))
