"""Views, permutes, slices, joins: what moves values or takes some of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilemod.forms.ops import Rearrange
from tests.unit.forms.exact import assert_exact

CONV = nn.Conv2d(4, 6, 1)
LINEAR = nn.Linear(4, 6)


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def windows(x, size, shift=0):
    """(B, C, H, W) to (B windows, positions, C), as Swin has it."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1)
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    x = x.view(b, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, c)


def merged(y, size, shape, shift=0):
    """`windows` back, to (B, H, W, C)."""
    b, _, h, w = shape
    y = y.view(b, h // size, w // size, size, size, -1)
    y = y.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)
    return torch.roll(y, (shift, shift), (1, 2)) if shift else y


VIEWS = {
    "flatten": lambda m, x: F.relu(x).flatten(1),
    "flatten the batch": lambda m, x: F.relu(tokens(x).flatten(0, 1)).reshape(x.shape[0], -1),
    "view and back": lambda m, x: F.relu(x.view(x.shape[0], 4, -1)).view(x.shape),
    "split an axis late": lambda m, x: (
        tokens(x).reshape(len(x), 8, 12, 2, 2).sum(3) + tokens(x).mean(2).view(len(x), 8, 12, 1)
    ),
    "split twice unlike": lambda m, x: (
        x.reshape(-1, 2, 2, 8, 12).mean(1).flatten(2)
        + x.reshape(-1, 2, 2, 4, 24).mean(2).flatten(2)
    ),
    "a border inside an axis": lambda m, x: x.reshape(x.shape[0], 6, 64),
    "a border inside, then a conv": lambda m, x: F.relu(x).reshape(x.shape[0], 3, 16, 8) * 2,
    "merge unlike": lambda m, x: x.transpose(2, 3).reshape(x.shape[0], 4, 96),
    "many axes in reverse": lambda m, x: (
        x.reshape(len(x), 2, 2, 2, 2, 2, 3, 2, 2).permute(0, 8, 6, 4, 2, 1, 3, 5, 7).flatten(1)
    ),
    "permute": lambda m, x: x.permute(0, 3, 1, 2),
    "swapaxes": lambda m, x: x.swapaxes(-1, 1),
    "movedim": lambda m, x: x.movedim(-1, 1),
    "moveaxis to the end": lambda m, x: x.movedim(1, -1),
    "unflatten": lambda m, x: x.unflatten(1, (2, -1)).mean(2),
    "unflatten from the end": lambda m, x: x.unflatten(-1, (3, 4)),
    "squeeze": lambda m, x: x.mean(1, keepdim=True).squeeze(1),
    "squeeze nothing": lambda m, x: x.squeeze(1),
    "squeeze several": lambda m, x: x.mean((1, 2), keepdim=True).squeeze((1, 2)),
    "unsqueeze": lambda m, x: x.unsqueeze(-1).unsqueeze(1).flatten(3),
    "numbers of a shape": lambda m, x: x.reshape(x.size(0), x.size(1) * x.shape[2] // 4, -1),
    "batch merged with windows": lambda m, x: merged(windows(x, 4), 4, x.shape),
}


def test_views_are_followed():
    assert_exact(VIEWS)


def alike(x, d):
    """A constant as large as `x` but for 3 values along `d`."""
    line = torch.linspace(0, 1, 3).view([3 if i == d else 1 for i in range(x.ndim)])
    return line.expand([-1 if i == d else n for i, n in enumerate(x.shape)])


AXES = {
    "slice": lambda x, d: x.narrow(d, 1, 2),
    "steps": lambda x, d: x.index_select(d, torch.arange(0, x.shape[d], 2)),
    "flip": lambda x, d: x.flip(d),
    "roll": lambda x, d: x.roll(1, d),
    "roll back": lambda x, d: x.roll(-3, d),
    "select": lambda x, d: x.select(d, -1),
    "split": lambda x, d: torch.cat(x.split(3, d)[::-1], d),
    "chunk unevenly": lambda x, d: torch.cat(x.chunk(3, d)[::-1], d),
    "split by sizes": lambda x, d: x.split([1, x.shape[d] - 1], d)[1],
    "unbind": lambda x, d: x.unbind(d)[1] - x.unbind(d)[0],
    "stack": lambda x, d: torch.stack([x, x * 2], d),
    "cat": lambda x, d: torch.cat([x, x.narrow(d, 0, 1), x * 2], d),
    "cat a constant": lambda x, d: torch.cat([x, alike(x, d)], d),
    "gather by numbers": lambda x, d: x.index_select(d, torch.tensor([1, 0, 0, 1])),
    "repeat": lambda x, d: x.repeat([2 if i == d else 1 for i in range(x.ndim)]),
    "repeat_interleave": lambda x, d: x.repeat_interleave(2, d),
    "pad": lambda x, d: F.pad(x, [0, 0] * (x.ndim - 1 - d) + [1, 2]),
    "crop by padding": lambda x, d: F.pad(x, [0, 0] * (x.ndim - 1 - d) + [-1, 0]),
}


PLACES = {
    "image": (lambda x: x, (1, 3)),
    "tokens": (tokens, (1, 2)),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), (1,)),
    "heads": (lambda x: x.view(x.shape[0], 2, 3, 8, 12), (2, 4)),
}


@pytest.mark.parametrize("place", PLACES)
def test_taking_and_joining_along_every_axis(place):
    seen_as, dims = PLACES[place]
    assert_exact(
        {
            f"{name} along {d}": lambda m, x, f=f, d=d: f(seen_as(m.c(x)), d)
            for name, f in AXES.items()
            for d in dims
        },
        c=CONV,
    )


@pytest.mark.parametrize(("channels_last", "most"), [(True, 6), (False, 5)])
def test_a_move_takes_no_more_dimensions_than_runtimes_have(channels_last, most):
    order = (0, 8, 6, 4, 2, 1, 3, 5, 7)
    move = Rearrange((0, *[2] * 8), [[i] for i in range(9)], [[i] for i in order], channels_last)
    x = torch.arange(3 * 2.0**8).reshape(3, *[2] * 8)
    graph = torch.fx.symbolic_trace(move).graph
    ranks = [len(n.args[1]) for n in graph.nodes if n.target == "permute"]
    assert torch.equal(move(x), x.permute(order)) and len(ranks) > 1 and max(ranks) <= most
