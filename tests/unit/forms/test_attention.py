"""Attention as products and a softmax; windows as Swin has them; patches as images and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.forms.exact import assert_exact
from tests.unit.forms.test_moves import merged, tokens, windows

LAYERS = {
    "qkv": nn.Linear(4, 12), "proj": nn.Linear(4, 4), "c": nn.Conv2d(4, 4, 1),
    "table": nn.Embedding(30, 2), "cls": nn.Embedding(1, 4), "pos": nn.Embedding(97, 4),
    "mha": nn.MultiheadAttention(4, 2, batch_first=True), "qkvc": nn.Conv2d(4, 12, 1), "norm": nn.LayerNorm(4),
}  # fmt: skip


def heads(m, y):
    """(B, N, 4) to q, k, v (B, 2, N, 2)."""
    return m.qkv(y).reshape(y.shape[0], y.shape[1], 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)


def back(m, y):
    return m.proj(y.transpose(1, 2).flatten(2))


def by_hand(m, y, bias=None, scale=2**-0.5):
    q, k, v = heads(m, y)
    scores = (q * scale) @ k.transpose(-2, -1)
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


PLACES = torch.arange(96)
ATTENTION = {
    "by hand": lambda m, x: by_hand(m, tokens(x)),
    "relative position": lambda m, x: by_hand(m, tokens(x), m.table(PLACES[:, None].add(PLACES) % 30).permute(2, 0, 1)),
    "called": lambda m, x: called(m, tokens(x)),
    "called with a scale": lambda m, x: called(m, tokens(x), scale=0.3),
    "causal": lambda m, x: called(m, tokens(x), is_causal=True),
    "a mask": lambda m, x: called(m, tokens(x), attn_mask=PLACES[:, None] % 7 != PLACES % 5),
    "a bias": lambda m, x: called(m, tokens(x), attn_mask=m.table(PLACES[:, None].add(PLACES) % 30).permute(2, 0, 1)[None]),
    "a bias from the image": lambda m, x: called(m, tokens(x), attn_mask=tokens(x).mean(2)[:, None, None, :].expand(-1, 2, 96, -1)),
    "a broadcast bias from the image": lambda m, x: by_hand(m, tokens(x), tokens(x).mean(2)[:, None, None, :]),
    "q of one token": lambda m, x: F.scaled_dot_product_attention(m.cls.weight.expand(len(x), 1, 4), tokens(x), tokens(x)),
    "nn.MultiheadAttention": lambda m, x: m.mha(tokens(x), tokens(x), tokens(x), need_weights=False)[0],
    "heads on an image": lambda m, x: (lambda q, k, v: (v @ (k.transpose(-2, -1) @ q).softmax(-2)).reshape(x.shape))(*m.qkvc(x).view(len(x), 2, 6, 96).chunk(3, 2)),
    "channels attend": lambda m, x: (lambda q, k, v: (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1) @ v)(*m.qkvc(x).flatten(2).chunk(3, 1)),
    "softmax of channels": lambda m, x: m.c(x).softmax(1),
    "softmax of positions": lambda m, x: m.c(x).flatten(2).softmax(-1) * x.flatten(2),
    "softmax of one": lambda m, x: m.c(x).mean((1, 2)).softmax(-1),
    "one head each": lambda m, x: tokens(x) @ tokens(m.c(x)).transpose(1, 2) @ tokens(x),
    "a product that broadcasts": lambda m, x: x @ x.mean(1, keepdim=True).transpose(-2, -1),
    "product of vectors": lambda m, x: tokens(x) @ x.mean((2, 3))[:, :, None],
    "keys shared by heads": lambda m, x: heads(m, tokens(x))[0] @ m.proj(tokens(x))[:, None, :, :2].transpose(-2, -1),
    "baddbmm": lambda m, x: torch.baddbmm(tokens(x) @ x.flatten(2), tokens(x), x.flatten(2), beta=0.5, alpha=2),
    "cls token": lambda m, x: by_hand(m, torch.cat([m.cls.weight.expand(len(x), 1, 4), tokens(x)], 1) + m.pos.weight)[:, 0],
    "cls token from the image": lambda m, x: by_hand(m, torch.cat([tokens(x), tokens(x).mean(1, keepdim=True)], 1)),
    "talking heads": lambda m, x: (lambda q, k, v: F.conv2d((q @ k.transpose(-2, -1)), m.c.weight[:2, :2]).softmax(-1) @ v)(*heads(m, tokens(x))),
    "einsum attention": lambda m, x: (lambda q, k, v: torch.einsum("bhij,bhjd->bhid", torch.einsum("bhid,bhjd->bhij", q, k).softmax(-1), v))(*heads(m, tokens(x))),
}  # fmt: skip
WINDOWS = {
    "windows": lambda m, x: merged(by_hand(m, windows(m.c(x), 4)), 4, x.shape),
    "windows of 2": lambda m, x: merged(by_hand(m, windows(m.c(x), 2)), 2, x.shape),
    "windows of a norm": lambda m, x: x.permute(0, 2, 3, 1) + merged(by_hand(m, windows(m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 4)), 4, x.shape),
    "shifted": lambda m, x: merged(by_hand(m, windows(m.c(x), 4, 2)), 4, x.shape, 2),
    "shifted and masked": lambda m, x: shifted_windows(m, x, 4, 2),
    "a bias of each window": lambda m, x: merged(by_hand(m, windows(x, 4), m.table(PLACES[:16, None].add(PLACES[:16]) % 30).permute(2, 0, 1)), 4, x.shape),
    "padded to windows": lambda m, x: merged(by_hand(m, windows(F.pad(x, (0, 3, 0, 2)), 5)), 5, (len(x), 4, 10, 15))[:, :8, :12],
    "pixel_shuffle": lambda m, x: F.pixel_shuffle(m.c(x), 2) * 2,
    "pixel_unshuffle": lambda m, x: F.pixel_unshuffle(m.c(x), 2),
    "channel_shuffle": lambda m, x: m.c(F.channel_shuffle(m.c(x), 2)),
    "patches": lambda m, x: F.unfold(m.c(x), 4, stride=4),
    "patches and back": lambda m, x: F.fold(F.unfold(m.c(x), (2, 3), stride=(2, 3)), (8, 12), (2, 3), stride=(2, 3)),
    "patches that overlap": lambda m, x: F.unfold(x, 3, padding=1),
    "patch merging": lambda m, x: m.c(torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)[:, ::4]),
    "focus": lambda m, x: torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1),
    "tensor indexing": lambda m, x: x[:, torch.tensor([3, 1])],
    "boolean constants": lambda m, x: x[:, :, torch.arange(8) % 2 == 0],
    "two indices": lambda m, x: x[:, :, torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])],
    "gather": lambda m, x: x.gather(1, torch.zeros(len(x), 1, 8, 12, dtype=torch.long)),
    "written in place": lambda m, x: torch.cat([x, x], 1).index_fill(1, torch.tensor([1]), 0.0),
}  # fmt: skip


