"""Attention as products and a softmax; windows as Swin has them; patches as images and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.forms.exact import assert_exact, assert_exact_alone
from tests.unit.forms.test_moves import merged, tokens, windows

LAYERS = {
    "qkv": nn.Linear(4, 12), "proj": nn.Linear(4, 4), "c": nn.Conv2d(4, 4, 1),
    "table": nn.Embedding(30, 2), "cls": nn.Embedding(1, 4), "pos": nn.Embedding(97, 4),
    "mha": nn.MultiheadAttention(4, 2, batch_first=True), "qkvc": nn.Conv2d(4, 12, 1),
    "norm": nn.LayerNorm(4),
}  # fmt: skip


def last(x):
    return x.permute(0, 2, 3, 1)


def heads(m, y):
    """(B, N, 4) to q, k, v (B, 2, N, 2)."""
    return m.qkv(y).reshape(y.shape[0], y.shape[1], 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)


def back(m, y):
    return m.proj(y.transpose(1, 2).flatten(2))


def by_hand(m, y, bias=None):
    q, k, v = heads(m, y)
    scores = (q * 2**-0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return back(m, scores.softmax(-1) @ v)


def called(m, y, **options):
    return back(m, F.scaled_dot_product_attention(*heads(m, y), **options))


def shifted_windows(m, x, size, shift):
    """Windows moved by `shift`, those that meet at the border kept apart by a mask."""
    y = windows(m.c(x), size, shift)
    region = torch.zeros(1, 1, 8, 12)
    region[..., -shift:, :] += 1
    region[..., -shift:] += 2
    own = windows(region, size)[..., 0]
    mask = (own[:, None] - own[:, :, None]).ne(0).float() * -100
    q, k, v = heads(m, y)
    scores = q @ k.transpose(-2, -1)
    n = size * size
    scores = scores.view(x.shape[0], -1, 2, n, n) + mask[:, None]
    y = back(m, scores.view(-1, 2, n, n).softmax(-1) @ v)
    return merged(y, size, x.shape, shift)


def bias(m, n=96):
    """A table's entry for each pair of positions, (2, n, n)."""
    place = torch.arange(n)
    return m.table((place[:, None] * 5 + place) % 30).permute(2, 0, 1)


def image_bias(x):
    return tokens(x).mean(2)[:, None, None, :]


def with_cls(m, x):
    y = torch.cat([m.cls.weight.expand(len(x), 1, 4), tokens(x)], 1)
    return by_hand(m, y + m.pos.weight)[:, 0]


def talking(m, x):
    q, k, v = heads(m, tokens(x))
    return F.conv2d(q @ k.transpose(-2, -1), m.c.weight[:2, :2]).softmax(-1) @ v


def on_image(m, x):
    q, k, v = m.qkvc(x).view(len(x), 2, 6, 96).chunk(3, 2)
    return (v @ (k.transpose(-2, -1) @ q).softmax(-2)).reshape(x.shape)


def of_channels(m, x):
    q, k, v = m.qkvc(x).flatten(2).chunk(3, 1)
    return (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1) @ v


def by_einsum(m, x):
    q, k, v = heads(m, tokens(x))
    scores = torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1)
    return torch.einsum("bhij,bhjd->bhid", scores, v)


def shared_keys(m, x):
    return heads(m, tokens(x))[0] @ tokens(m.c(x))[:, None, :, :2].transpose(2, 3)


def single_weights(m, x):
    q = tokens(m.c(x))
    return (q.mean(-1, keepdim=True).softmax(-1) * q).sum(1)


def patch_merging(m, x):
    y = torch.cat([last(x)[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
    return F.linear(y[..., :12], m.qkvc.weight[:, :, 0, 0].t())


def windowed(m, x, size, shift=0, mask=None):
    y = by_hand(m, windows(m.c(x), size, shift), mask)
    return merged(y, size, x.shape, shift)


ATTENTION = {
    "by hand": lambda m, x: by_hand(m, tokens(x)),
    "relative position": lambda m, x: by_hand(m, tokens(x), bias(m)),
    "called": lambda m, x: called(m, tokens(x)),
    "called with a scale": lambda m, x: called(m, tokens(x), scale=0.3),
    "causal": lambda m, x: called(m, tokens(x), is_causal=True),
    "a mask": lambda m, x: called(m, tokens(x), attn_mask=bias(m)[0].detach() > 0),
    "a bias": lambda m, x: called(m, tokens(x), attn_mask=bias(m)[None]),
    "a bias of the image": lambda m, x: called(
        m, tokens(x), attn_mask=image_bias(x).expand(-1, 2, 96, -1)
    ),
    "a bias of the image that broadcasts": lambda m, x: by_hand(m, tokens(x), image_bias(x)),
    "q of one token": lambda m, x: F.scaled_dot_product_attention(
        m.cls.weight.expand(len(x), 1, 4), tokens(x), tokens(x)
    ),
    "a module": lambda m, x: m.mha(tokens(x), tokens(x), tokens(x), need_weights=False)[0],
    "a module of one question": lambda m, x: m.mha(
        m.cls.weight[None].repeat(len(x), 1, 1), tokens(x), tokens(x)
    )[0],
    "heads on an image": on_image,
    "channels": of_channels,
    "softmax of channels": lambda m, x: m.c(x).softmax(1),
    "softmax of positions": lambda m, x: m.c(x).flatten(2).softmax(-1) * x.flatten(2),
    "softmax of single values": single_weights,
    "softmax of (B, N)": lambda m, x: m.c(x).mean((1, 2)).softmax(-1),
    "no heads": lambda m, x: tokens(x) @ tokens(m.c(x)).transpose(1, 2) @ tokens(x),
    "a product that broadcasts": lambda m, x: x @ x[:, :1].transpose(-2, -1),
    "product with a vector": lambda m, x: tokens(x) @ x.mean((2, 3))[:, :, None],
    "keys shared by heads": shared_keys,
    "baddbmm": lambda m, x: torch.baddbmm(
        tokens(x) @ x.flatten(2), tokens(x), x.flatten(2), beta=0.5, alpha=2
    ),
    "cls token": with_cls,
    "a token of the image": lambda m, x: by_hand(
        m, torch.cat([tokens(x), tokens(x).mean(1, keepdim=True)], 1)
    ),
    "talking heads": talking,
    "einsum": by_einsum,
}
WINDOWS = {
    "windows": lambda m, x: windowed(m, x, 4),
    "windows of 2": lambda m, x: windowed(m, x, 2),
    "windows of a norm": lambda m, x: last(x) + windowed(m, m.norm(last(x)).permute(0, 3, 1, 2), 4),
    "shifted": lambda m, x: windowed(m, x, 4, 2),
    "shifted and masked": lambda m, x: shifted_windows(m, x, 4, 2),
    "a bias": lambda m, x: windowed(m, x, 4, 0, bias(m, 16)),
    "padded to windows": lambda m, x: windowed(m, F.pad(x, (0, 3, 0, 2)), 5)[:, :8, :12],
    "pixel_shuffle": lambda m, x: F.pixel_shuffle(m.c(x), 2) * 2,
    "pixel_unshuffle": lambda m, x: F.pixel_unshuffle(m.c(x), 2),
    "channel_shuffle": lambda m, x: m.c(F.channel_shuffle(m.c(x), 2)),
    "patches": lambda m, x: F.unfold(m.c(x), 4, stride=4),
    "patches and back": lambda m, x: F.fold(
        F.unfold(m.c(x), (2, 3), stride=(2, 3)), (8, 12), (2, 3), stride=(2, 3)
    ),
    "patches that overlap": lambda m, x: F.unfold(x, 3, padding=1),
    "patch merging": patch_merging,
    "focus": lambda m, x: torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1),
    "a list as index": lambda m, x: x[:, torch.tensor([3, 1])],
    "two indices": lambda m, x: x[:, :, torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])],
}


def test_attention():
    canonical = assert_exact(ATTENTION, **LAYERS)
    assert [line.split(": ", 1)[1] for line in canonical.left] == [
        "matmul: a product that broadcasts"
    ] * 2


def test_windows_and_patches():
    canonical = assert_exact(WINDOWS, **LAYERS)
    assert {line.split(": ")[1] for line in canonical.left} == {"im2col", "index"}


def test_attention_is_products_and_a_softmax():
    canonical = assert_exact_alone(lambda m, x: called(m, tokens(x), attn_mask=bias(m)), **LAYERS)
    roles = {n.role for n in canonical.graph.nodes}
    assert {"scores", "softmax", "context"} <= roles and not canonical.left
    names = [n.tensor for n in canonical.graph.nodes]
    assert len(set(names)) == len(names)


def test_softmax_of_single_values_is_one():
    canonical = assert_exact_alone(single_weights, **LAYERS)
    unweighted = assert_exact_alone(lambda m, x: tokens(m.c(x)).sum(1), **LAYERS)
    assert len(canonical.graph.nodes) == len(unweighted.graph.nodes)
