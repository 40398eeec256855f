"""Strided convolutions over few channels on merged columns: the same function, for every width."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilemod.forms.merging import pays
from mobilemod.forms.mobile_ops import MergedColumns

# Kernel, stride, padding.
STEMS = (
    (7, 4, 3), (4, 4, 0), (7, 2, 3), (3, 2, 1), (3, 2, 0), (16, 16, 0), (5, 2, 2), (2, 2, 0),
    (3, 4, 1), (1, 2, 0), (4, 2, 1), (6, 3, 5), ((3, 7), (1, 4), (0, 3)),
)  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("stem", STEMS, ids=str)
@torch.no_grad()
def test_same_function(stem, channels):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 8, *stem, bias=channels != 1)
    merged = MergedColumns("net.proj", conv)
    step = conv.stride[1]
    assert merged.conv.in_channels == channels * step and merged.conv.stride[1] == 1
    for size in ((32, 48), (32, 49), (37, 51), (34, 50)):
        x = torch.randn(2, channels, *size)
        torch.testing.assert_close(merged(x), conv(x), rtol=0, atol=1e-5)
    assert torch.equal(merged.kernel(), conv.weight)


@torch.no_grad()
def test_no_pad_but_one_where_the_width_is_a_multiple():
    conv = nn.Conv2d(3, 8, 7, 4, 3)
    merged = MergedColumns("patch_embed.proj", conv)
    assert merged.conv.weight.shape == (8, 12, 7, 2)
    graph = torch.export.export(merged, (torch.randn(1, 3, 224, 224),)).graph
    pads = [n for n in graph.nodes if n.op == "call_function" and "pad" in str(n.target)]
    assert [n.args[1] for n in pads] == [[1, 0, 3, 0]]


@torch.no_grad()
def test_columns_on_the_right_are_padded_before():
    """MobileNet's padding in TensorFlow's manner: one column and row, to the right and below."""
    conv = nn.Conv2d(3, 8, 3, 2)
    x = torch.nn.functional.pad(torch.randn(1, 3, 32, 32), (0, 1, 0, 1))
    torch.testing.assert_close(MergedColumns("m", conv)(x), conv(x), rtol=0, atol=1e-5)


def test_where_it_pays():
    for kernel, stride, padding in ((7, 4, 3), (4, 4, 0), (7, 2, 3), (16, 16, 0)):
        assert pays(nn.Conv2d(3, 32, kernel, stride, padding))
    assert pays(nn.Conv2d(1, 32, 7, 4, 3))
    assert not pays(nn.Conv2d(3, 32, 3, 2, 1))
    assert not pays(nn.Conv2d(3, 32, 7, 1, 3))
    assert not pays(nn.Conv2d(32, 64, 3, 2, 1))
    assert not pays(nn.Conv2d(3, 32, 3, 2, 1, dilation=2))
    assert not pays(nn.Conv2d(4, 8, 3, 2, 1, groups=4))
