"""Roles that decide what is int8: squares, and sums with what was moved on the way."""

import torch
from torch import nn

from mobilemod.forms.canonical import canonical_form


class Moved(nn.Module):
    """A residual branch and its trunk, both of which leave an image's layout."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.stem, self.conv, self.last = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        return self.last(self.function(self, self.stem(x))).flatten(1)


def roles(function):
    torch.manual_seed(0)
    made = canonical_form(Moved(function).eval(), (3, 8, 8))
    return [n.role for n in made.graph.nodes]


def patches(x):
    return x.reshape(-1, 3, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(-1, 3, 4, 16)


def test_a_sum_with_what_it_was_moved_from_is_a_residual():
    found = roles(lambda m, x: patches(x) + m.conv(torch.tanh(patches(m.stem(x)) + 1)))
    assert "residual" in found and "sum" not in found


def test_a_sum_of_two_branches_is_none():
    found = roles(lambda m, x: m.conv(torch.tanh(x)) + m.stem(torch.exp(x)))
    assert "sum" in found and "residual" not in found


def test_a_tensor_by_itself_is_a_square():
    assert "square" in roles(lambda m, x: torch.tanh(x) * torch.tanh(x) + m.conv(x) ** 2)
    assert "square" not in roles(lambda m, x: torch.tanh(x) * m.conv(x))


def heads(m, x):
    """Attention of three heads of one channel, which convolutions mix before and after softmax."""
    q, k = (t.flatten(2).unsqueeze(3) for t in (x, m.stem(x)))
    return (m.conv(m.conv(q @ k.transpose(2, 3)).softmax(-1)) @ q).reshape(x.shape)


def test_what_mixes_the_heads_of_attention_are_scores():
    found = roles(heads)
    assert (found.count("scores"), found.count("conv"), found.count("moved.in")) == (3, 2, 1)


def test_a_convolution_beside_any_softmax_is_none():
    found = roles(lambda m, x: m.conv(x.softmax(1)) + m.stem(x).softmax(1))
    assert "scores" not in found and found.count("conv") == 3


def test_a_convolution_that_is_clamped_gives_its_clamp_the_scale():
    found = roles(lambda m, x: m.conv(torch.relu(m.stem(x))))
    assert found.count("clamped") == 1 and "activation" in found
    # Read by something else too, and under another activation, it needs a scale of its own.
    assert "clamped" not in roles(lambda m, x: torch.relu(y := m.conv(x)) + y)
    assert "clamped" not in roles(lambda m, x: m.conv(torch.tanh(m.stem(x))))


def test_a_sum_that_is_clamped_gives_its_clamp_the_scale():
    def branches(m, x):
        return m.conv(torch.tanh(x)) + m.stem(torch.exp(x))

    assert roles(lambda m, x: torch.relu(branches(m, x))).count("clamped") == 1
    assert "clamped" not in roles(lambda m, x: torch.relu(y := branches(m, x)) * y)
    assert "clamped" not in roles(lambda m, x: torch.tanh(branches(m, x)))
    assert "residual" in roles(lambda m, x: torch.relu(m.conv(torch.tanh(x)) + x))
