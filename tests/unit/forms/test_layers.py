"""Convolutions, linears, norms: what has weights, and what folds into it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.forms.exact import assert_exact, assert_exact_alone, kinds


def last(x):
    return x.permute(0, 2, 3, 1)


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def centred(x):
    return x - x.mean(1, keepdim=True)


LAYERS = {
    "c": nn.Conv2d(4, 4, 1), "p": nn.Conv2d(4, 6, 3, padding=1), "l": nn.Linear(4, 6),
    "f": nn.Linear(384, 5), "nb": nn.Linear(4, 4, bias=False), "sq": nn.Linear(4, 4),
    "ln": nn.LayerNorm(4), "bn": nn.BatchNorm2d(4), "bn6": nn.BatchNorm2d(6),
    "b1": nn.BatchNorm1d(4), "b1n": nn.BatchNorm1d(96), "gn": nn.GroupNorm(1, 4),
    "gg": nn.GroupNorm(2, 4), "dw": nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "gr": nn.Conv2d(4, 8, 1, groups=2), "t": nn.ConvTranspose2d(4, 3, 2, 2),
    "c1": nn.Conv1d(4, 6, 3, padding=1, stride=2), "lw": nn.LayerNorm(12),
    "l3": nn.LayerNorm([4, 8, 12]), "l2": nn.LayerNorm([8, 12]),
    "inn": nn.InstanceNorm2d(4, affine=True), "emb": nn.Embedding(8, 4),
    "bil": nn.Bilinear(4, 4, 3), "rms": nn.RMSNorm(4), "lc": nn.Linear(12, 12),
    "one": nn.Linear(4, 1), "bna": nn.BatchNorm2d(4, affine=False),
    "lna": nn.LayerNorm(4, elementwise_affine=False), "dws": nn.Conv2d(4, 8, 3, groups=4),
    "c3": nn.Conv3d(1, 2, 1), "m": nn.Conv2d(4, 6, 4, 4),
}  # fmt: skip
CONVS = {
    "same": lambda m, x: F.conv2d(x, m.p.weight, m.p.bias, padding="same"),
    "same, even": lambda m, x: F.conv2d(x, m.m.weight, padding="same"),
    "same, even and odd": lambda m, x: F.conv2d(
        x, m.m.weight[:, :, :3, :2], padding="same", dilation=(1, 2)
    ),
    "valid": lambda m, x: F.conv2d(x, m.m.weight, padding="valid", stride=2),
    "dilated": lambda m, x: F.conv2d(x, m.p.weight, None, 1, (2, 1), (2, 1)),
    "depthwise": lambda m, x: m.dw(x),
    "depthwise by 2": lambda m, x: m.dws(x),
    "groups": lambda m, x: m.gr(x),
    "patches": lambda m, x: m.m(x),
    "transposed": lambda m, x: m.t(x),
    "transposed, of tokens": lambda m, x: m.t(tokens(F.relu(x)).transpose(1, 2).view(x.shape)),
    "transposed, without a bias": lambda m, x: F.conv_transpose2d(x, m.t.weight, None, 2),
    "transposed, overlapping": lambda m, x: F.conv_transpose2d(x, m.t.weight, m.t.bias, 1),
    "transposed, padded": lambda m, x: F.conv_transpose2d(x, m.t.weight, None, 2, 1),
    "transposed, in groups": lambda m, x: F.conv_transpose2d(x, m.t.weight, None, 2, groups=2),
    "transposed, of rectangles": lambda m, x: F.conv_transpose2d(
        x, m.t.weight[:, :, :1], None, (1, 2)
    ),
    "1d": lambda m, x: m.c1(x.flatten(2)),
    "1d same": lambda m, x: F.conv1d(x.flatten(2), m.c1.weight, padding="same"),
    "1d valid": lambda m, x: F.conv1d(x.flatten(2), m.c1.weight, padding="valid"),
    "3d": lambda m, x: m.c3(x[:, None]),
    "of a transposed image": lambda m, x: m.p(x.transpose(2, 3)),
    "of tokens": lambda m, x: m.p(tokens(F.relu(x)).transpose(1, 2).view(x.shape)),
    "linear (B, C)": lambda m, x: m.l(x.mean((2, 3))),
    "linear (B, N, C)": lambda m, x: m.l(tokens(x)),
    "linear (B, H, W, C)": lambda m, x: m.l(last(x)),
    "linear over width": lambda m, x: m.lc(x),
    "linear over all": lambda m, x: m.f(x.flatten(1)),
    "linear to one": lambda m, x: m.one(last(x)),
    "linear of one": lambda m, x: F.linear(last(x[:, :1]), m.one.weight.t()),
    "linear by a matrix": lambda m, x: tokens(x) @ m.l.weight.t() + m.l.bias,
    "a matrix from the left": lambda m, x: m.l.weight @ x.flatten(2),
    "a stack of matrices": lambda m, x: x @ m.lc.weight[:, :5].expand(4, 12, 5),
    "a stack from the left": lambda m, x: m.lc.weight[:5, :8].expand(4, 5, 8) @ x,
    "a matrix a channel": lambda m, x: x @ (m.lc.weight * m.bn.weight[:, None, None]),
    "a matrix a head": lambda m, x: (
        m.lc.weight[:10, :2].reshape(2, 5, 2) @ x.unflatten(1, (2, 2)).flatten(3)
    ),
    "a matrix a head of images as one": lambda m, x: (
        x.view(-1, 2, 96).mT @ m.lc.weight[:, :2].reshape(2, 2, 6).repeat(len(x), 1, 1)
    ).reshape(len(x), -1),
    "a vector": lambda m, x: tokens(x) @ m.one.weight[0],
    "addmm": lambda m, x: torch.addmm(m.l.bias, x.mean((2, 3)), m.l.weight.t()),
    "addmm scaled": lambda m, x: torch.addmm(
        m.l.bias, x.mean((2, 3)), m.l.weight.t(), beta=2, alpha=0.5
    ),
    "linear of batch and windows": lambda m, x: m.l(last(x).reshape(-1, 12, 4)).reshape(len(x), -1),
    "one layer twice": lambda m, x: m.c(F.relu(m.c(x))),
    "a linear twice": lambda m, x: m.nb(m.nb(tokens(x))) + m.nb(tokens(x)),
    "one weight, two layouts": lambda m, x: (
        m.nb(x.mean((2, 3)))[:, :, None, None] + F.conv2d(x, m.nb.weight[:, :, None, None])
    ),
    "bilinear layer": lambda m, x: m.bil(tokens(x), tokens(x)),
    "embedding": lambda m, x: x + m.emb(torch.arange(4))[:, :1, None],
}
NORMS = {
    "batch norm after": lambda m, x: m.bn6(m.p(x)),
    "batch norm before": lambda m, x: m.c(m.bn(x)),
    "batch norm before a padded conv": lambda m, x: m.p(m.bn(x)),
    "batch norm before depthwise": lambda m, x: m.dws(m.bn(x)),
    "batch norm before groups": lambda m, x: m.gr(m.bn(x)),
    "batch norm before a linear": lambda m, x: m.l(m.b1(x.mean((2, 3)))),
    "batch norm after a linear": lambda m, x: m.b1(m.nb(x.mean((2, 3)))),
    "batch norm of (B, C, N)": lambda m, x: m.b1(x.flatten(2)),
    "batch norm of positions": lambda m, x: m.b1n(tokens(x)),
    "batch norm alone": lambda m, x: m.bn(x),
    "batch norm without weights": lambda m, x: m.bna(m.c(x)),
    "batch norm twice": lambda m, x: m.bn(m.bn(m.c(x))) + x,
    "batch norm, read twice": lambda m, x: m.bn(m.c(x)) + m.c(x),
    "batch norm before pooling": lambda m, x: m.l(m.bn(F.relu(x)).mean((2, 3))),
    "batch norm before flatten": lambda m, x: m.f(m.bn(F.relu(x)).flatten(1)),
    "layer norm": lambda m, x: m.ln(last(x)),
    "layer norm of tokens": lambda m, x: m.ln(tokens(x)),
    "layer norm of (B, C)": lambda m, x: m.ln(x.mean((2, 3))),
    "layer norm without weights": lambda m, x: m.lna(last(x)),
    "layer norm of width": lambda m, x: m.lw(x),
    "layer norm of all": lambda m, x: m.l3(x),
    "layer norm of two": lambda m, x: m.l2(x),
    "layer norm by hand": lambda m, x: (
        centred(x) / torch.sqrt(centred(x).pow(2).mean(1, keepdim=True) + 1e-6)
    ),
    "group norm": lambda m, x: m.gn(x) + m.c(m.gn(x)),
    "group norm of (B, C)": lambda m, x: m.gn(x.mean((2, 3))),
    "groups of channels": lambda m, x: m.gg(x) + m.c(m.gg(x)),
    "instance norm": lambda m, x: m.inn(x),
    "groups of (B, C)": lambda m, x: m.gg(x.mean((2, 3))),
    "groups of channels, grouped again": lambda m, x: m.gr(m.gg(m.c(x))),
    "rms norm": lambda m, x: m.rms(last(x)),
    "layer scale": lambda m, x: x + m.bn.weight[:, None, None] * m.c(x),
    "layer scale of tokens": lambda m, x: tokens(x) + m.nb(tokens(x)) * m.bn.weight,
    "layer scale of an activation": lambda m, x: x + m.bn.weight[:, None, None] * F.gelu(m.c(x)),
    "a shift before padding": lambda m, x: m.p(x + m.bn.weight[:, None, None]),
    "a scale before padding": lambda m, x: m.p(x * m.bn.weight[:, None, None]),
    "dropped out": lambda m, x: F.dropout(nn.Identity()(m.c(x)), 0.5, m.training),
}


def test_convolutions_and_linears():
    canonical = assert_exact(CONVS, **LAYERS)
    left = [line.split(": ", 1)[1] for line in canonical.left]
    assert {line.split(": ")[0] for line in left} == {"convolution", "_trilinear"}
    assert sum("a transposed convolution" in line for line in left) == 4


def test_norms():
    canonical = assert_exact(NORMS, **LAYERS)
    left = {line.split(": ")[1] for line in canonical.left}
    assert left == {"layer_norm"}


FOLDED = {
    "batch norm into the convolution before": (lambda m, x: m.bn(m.c(x)), []),
    "batch norm into the convolution after": (lambda m, x: m.c(m.bn(x)), []),
    "a batch norm, of positions, before a linear": (
        lambda m, x: m.l(m.b1n(tokens(x))),
        ["Affine"],
    ),
    "no shift where the convolution pads": (lambda m, x: m.p(m.bn(x)), ["Affine"]),
    "zeros on either side into the convolution": (
        lambda m, x: m.c(F.pad(m.dw(F.pad(x, (2, 2, 1, 1))), (1, 1))),
        [],
    ),
    "other padding stays": (
        lambda m, x: m.c(F.pad(m.c(F.pad(x, (0, 1))), (1, 1), value=2)),
        ["constant_pad_nd", "constant_pad_nd"],
    ),
    "a scale where the convolution pads": (lambda m, x: m.p(x * m.bn.weight[:, None, None]), []),
    "batch norm behind pooling, into the linear": (
        lambda m, x: m.l(m.bn(F.relu(x)).mean((2, 3))),
        ["relu", "mean"],
    ),
    "norm into all linears that read it": (
        lambda m, x: sum(f(m.ln(last(x))) for f in (m.nb, m.sq)),
        ["ChannelNorm", "ChannelNorm", "add"],
    ),
    "norm that a residual reads too": (
        lambda m, x: (lambda y: m.nb(y) + y)(m.ln(last(x))),
        ["ChannelNorm", "Affine", "add"],
    ),
    "layer scale into the linear before": (
        lambda m, x: tokens(x) + m.nb(tokens(x)) * m.bn.weight,
        ["add"],
    ),
    "no layer scale over an activation": (
        lambda m, x: F.gelu(m.c(x)) * m.bn.weight[:, None, None],
        ["gelu", "Affine"],
    ),
    "no batch norm where the convolution is read twice": (
        lambda m, x: (lambda y: m.bn(y) + y)(m.c(x)),
        ["Affine", "add"],
    ),
    "scales after one another": (
        lambda m, x: F.relu(m.bn(m.bn(F.relu(x)) * 2)),
        ["relu", "Affine", "relu"],
    ),
    "softmax scale through a product": (
        lambda m, x: (m.nb(tokens(x)) @ x.flatten(2) * 0.3).softmax(-1),
        ["MatMul", "softmax"],
    ),
    "no softmax scale without a convolution": (
        lambda m, x: (tokens(x) @ x.flatten(2) * 0.3).softmax(-1),
        ["MatMul", "Affine", "softmax"],
    ),
    "the mean of two linears": (
        lambda m, x: (lambda y: (m.nb(y) + m.sq(y)) / 2)(F.relu(x).mean((2, 3))),
        ["relu", "mean"],
    ),
    "rows as convolutions of their own": (lambda m, x: m.l(tokens(x)).chunk(2, 2)[1], []),
    "dropout and identities": (
        lambda m, x: F.dropout2d(nn.Identity()(x), 0.3, False).clone() * 1 + 0,
        [],
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_what_folds_and_what_does_not(name):
    function, expected = FOLDED[name]
    canonical = assert_exact_alone(function, **LAYERS)
    moved = ("NamedConv2d", "Rearrange")
    assert [k for k in kinds(canonical) if k not in moved] == expected
