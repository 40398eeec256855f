"""Whole small networks, images of any size and channels, and what is refused in one line."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilemod.errors import UserError
from mobilemod.forms.canonical import Canonical, canonical_form
from tests.unit.forms.exact import assert_exact_alone, shaken
from tests.unit.forms.graphs import Lambda


def small(channels=3):
    """A stem, a residual block, a head, as most networks have them."""
    return {
        "stem": nn.Sequential(
            nn.Conv2d(channels, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        ),
        "mix": nn.Sequential(
            nn.Conv2d(8, 8, 7, 1, 3, groups=8), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        ),
        "norm": nn.LayerNorm(8),
        "head": nn.Linear(8, 5),
    }


def network(m, x):
    x = m.stem(x)
    x += m.mix(x)
    return m.head(m.norm(x.flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(
    "shape", [(1, 32, 32), (3, 160, 384), (3, 33, 47), (3, 2, 2), (2, 32, 2)], ids=str
)
def test_images_of_any_size(shape):
    assert not assert_exact_alone(network, shape, **small(shape[0])).left


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 1)),
        nn.Identity(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Hardswish(), nn.Softmax2d()),
    ],
    ids=["sequential", "linear alone", "nothing", "no weights", "no convolution"],
)
def test_a_root_of_any_kind(module):
    assert_exact_alone(lambda m, x: m.root(x), (3, 8, 8), root=module)
    canonical_form(module, (3, 8, 8))


def test_a_form_is_rebuilt_from_its_json_and_weights():
    module = shaken(Lambda(network, **small()))
    canonical = canonical_form(module, (3, 32, 32))
    again = Canonical.from_dict(canonical.to_dict(), canonical.state())
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(again.graph.run(x), canonical.graph.run(x))
    assert again.structure == canonical.structure


def test_training_mode_is_of_no_matter():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)).train()
    x = torch.randn(1, 3, 4, 4)
    found = canonical_form(module, (3, 4, 4)).graph.run(x)
    torch.testing.assert_close(found, module.eval()(x))


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


REFUSED = {
    "two outputs": (lambda m, x: (x, x + 1), "2 outputs"),
    "a dict": (lambda m, x: {"a": x, "b": x}, "2 outputs"),
    "no output of the image": (lambda m, x: torch.ones(2, 3), "doesn't depend on its image"),
    "an output that is a number": (lambda m, x: 3, "doesn't depend on its image"),
    "nothing": (lambda m, x: None, "doesn't depend on its image"),
    "control flow": (lambda m, x: x if x.sum() > 0 else -x, "depends on values of the image"),
    "a number of the image": (lambda m, x: x * x.mean().item(), "mixes images"),
    "NumPy": (lambda m, x: torch.from_numpy(x.numpy()), "can't be exported"),
    "an error of its own": (lambda m, x: F.linear(x, torch.ones(3, 7)), "can't be exported"),
    "sum over the batch": (lambda m, x: x.sum(0, keepdim=True) + x, "op sum mixes images"),
    "mean of all": (lambda m, x: x - x.mean(), "op mean"),
    "some images": (lambda m, x: x[:1] + x, "some images of the batch"),
    "images rolled": (lambda m, x: x.roll(1, 0), "op roll mixes images"),
    "images joined": (lambda m, x: torch.cat([x, x]), "op cat mixes images"),
    "softmax over the batch": (lambda m, x: x.softmax(0), "op softmax mixes images"),
    "images beside images": (lambda m, x: x[:, None] * x[None], "mixes images"),
    "a constant of each image": (
        lambda m, x: x + torch.arange(2.0)[:, None, None, None],
        "mixes images",
    ),
    "counted over the batch": (lambda m, x: x.cumsum(0), "op cumsum mixes images"),
    "images last": (lambda m, x: x.permute(1, 2, 3, 0), "images as its first dimension"),
    "several results": (lambda m, x: x.sort(0)[0], "op sort mixes images"),
    "as many values as fit": (lambda m, x: x * x[x > 0].mean(), "depends on the image's"),
    "random numbers": (lambda m, x: x + torch.randn_like(x), "op randn_like draws random numbers"),
    "a random constant": (lambda m, x: x + torch.rand(1, 3, 1, 1), "op rand draws random numbers"),
    "a loop": (
        lambda m, x: torch.while_loop(
            lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (torch.tensor(0), x)
        )[1],
        "runs programs of its own",
    ),
    "complex numbers": (lambda m, x: torch.fft.fft2(x).real, "gives complex numbers"),
    "a buffer counted": (lambda m, x: x + m.layer.num_batches_tracked.add_(1), "layer.num_batches"),
    "the image changed": (lambda m, x: x.mul_(2) + 1, "changes x in place"),
    "a weight of the image": (lambda m, x: F.conv2d(x, x[:, :, :2, :2]), "mixes images"),
    "statistics of the batch": (lambda m, x: F.batch_norm(x, None, None, training=True), "op "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case):
    function, message = REFUSED[case]
    with pytest.raises(UserError) as error:
        canonical_form(Lambda(function, layer=nn.BatchNorm2d(3)), (3, 8, 8))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.sort(-1)[0],
        lambda m, x: x + x.max(1, keepdim=True).indices,
        lambda m, x: torch.gather(x * 2, 1, x.sort(1).indices),
        lambda m, x: x.flatten(2).topk(3, 2)[0] * x.flatten(2).topk(3, 2)[1],
        lambda m, x: torch.tensor_split(x, 2, 1)[1],
        lambda m, x: m.lstm(x.flatten(2))[0],
    ],
    ids=["sort", "indices", "gather", "values and indices", "split", "lstm"],
)
def test_ops_of_several_results(function):
    canonical = assert_exact_alone(function, (3, 4, 4), lstm=nn.LSTM(16, 5, batch_first=True))
    again = Canonical.from_dict(canonical.to_dict(), canonical.state())
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(again.graph.run(x), canonical.graph.run(x))


def test_dropout_of_a_constant_is_nothing_random():
    drop, layer = F.dropout, nn.Linear(4, 4)
    assert_exact_alone(lambda m, x: x + drop(m.layer.weight, 0.5, False), (3, 4, 4), layer=layer)


def test_what_is_changed_in_place_within():
    layer = nn.Conv2d(3, 2, 1)
    assert_exact_alone(lambda m, x: m.layer(x.clone().mul_(2)) + 1, (3, 4, 4), layer=layer)


def test_two_inputs_are_refused_in_one_line():
    with pytest.raises(UserError, match="TwoInputs") as error:
        canonical_form(TwoInputs(), (3, 8, 8))
    assert "\n" not in str(error.value)
