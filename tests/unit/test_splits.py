"""Depthwise kernels split in pieces: every tap once, the same function."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, MobileDepthwise
from mobilemod.forms.splits import LARGEST, Piece, split

ALL, EVEN = tuple(range(7)), (0, 2, 4, 6)
# Rows, columns and what the pieces' kernels compute, 9 or 25 taps each.
KERNELS = {
    (7, 7): 59, (9, 9): 93, (11, 11): 143, (13, 13): 202, (1, 27): 34, (31, 1): 43, (7, 5): 43,
    (5, 7): 43, (3, 11): 43, (8, 8): 84,
}  # fmt: skip


def test_split_of_7x7():
    assert split((7, 7), 25) == (
        Piece((1, 3, 5), ALL),
        Piece(EVEN, (1, 2, 3, 4, 5)),
        Piece(EVEN, (0, 6)),
    )


@pytest.mark.parametrize(("kernel", "cost"), KERNELS.items())
def test_pieces_make_up_the_kernel(kernel, cost):
    pieces = split(kernel, 25)
    taps = [(r, c) for piece in pieces for r in piece.rows for c in piece.columns]
    assert sorted(taps) == [(r, c) for r in range(kernel[0]) for c in range(kernel[1])]
    assert sum(9 if p.taps <= 9 else 25 for p in pieces) == cost
    for piece in pieces:
        assert piece.taps <= 25
        along_both = zip((piece.rows, piece.columns), kernel, piece.dilation, strict=True)
        for along, size, step in along_both:
            assert along[0] + along[-1] == size - 1
            assert along == tuple(range(along[0], along[-1] + 1, step))


@pytest.mark.parametrize("kernel", [(5, 5), (1, 25), (3, 3), (1, 1), (LARGEST + 2, 3)])
def test_whole_where_it_fits_or_is_beyond_all(kernel):
    assert len(split(kernel, 25)) == 1
    assert len(split((13, 13), 0)) == 1


def depthwise(kernel, stride=1, padding=None, multiple=1, bias=True, channels=4):
    torch.manual_seed(sum(kernel))
    padding = tuple(k // 2 for k in kernel) if padding is None else padding
    return nn.Conv2d(
        channels, channels * multiple, kernel, stride, padding, groups=channels, bias=bias
    )


def check(conv, options=XNNPACK_FORM):
    form = MobileDepthwise("net.conv", conv, options)
    for size in ((15, 18), (16, 33)):
        x = torch.randn(2, conv.in_channels, *size)
        expected = conv(x)
        assert torch.allclose(form(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert torch.equal(form.kernel(), conv.weight)
    return form


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "kernel", [(7, 7), (9, 9), (11, 11), (13, 13), (1, 11), (3, 11), (11, 3), (7, 5), (8, 8)]
)
@torch.no_grad()
def test_same_function(kernel, stride):
    form = check(depthwise(kernel, stride))
    assert form.split == (kernel[0] * kernel[1] > 25)
    check(depthwise(kernel, stride, multiple=2, bias=False))
    for padding in ((0, 0), (1, 2), (4, 0), (7, 7)):
        check(depthwise(kernel, stride, padding))


@torch.no_grad()
def test_whole_for_a_runtime_without_limit():
    form = check(depthwise((13, 13)), COREML_FORM)
    assert [c.part for c in form.convs] == [""] and form.taps[0].tensor == "net.conv:out"


def test_names():
    form = MobileDepthwise("m", depthwise((9, 9), padding=(0, 0)), XNNPACK_FORM, source="f:out")
    names = [m.tensor for part in (form.convs, form.taps, form.sums) for m in part]
    assert names == [
        *(f"m.part{i}:weight" for i in range(5)),
        *(f"m.part{i}:out" for i in range(5)),
        "m.sum0:out", "m.sum1:out", "m.sum2:out", "m:out",
    ]  # fmt: skip
    # Without padding, pieces of inner taps read an inner part of the image.
    cut = [c.tap for c in form.cuts if not isinstance(c, nn.Identity)]
    assert cut and {t.source for t in cut} == {"f:out"}
    whole = MobileDepthwise("m", depthwise((9, 9)), XNNPACK_FORM)
    assert all(isinstance(c, nn.Identity) for c in whole.cuts)
