"""Compensated rounding: weights on their grids that make a better network than the nearest ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM, NamedConv2d
from quantization.calibration import CalibrationImages
from quantization.params import weight_params
from quantization.prepare import compensation
from quantization.prepare.compensation import compensate, compensated, second_moments

SIZE = 48


class Clamped(nn.Module):
    """Convolutions of every kind behind ReLUs, as in a MobileNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.wide, self.depthwise = nn.Conv2d(16, 96, 1), nn.Conv2d(96, 96, 3, 2, 1, groups=96)
        self.grouped = nn.Conv2d(96, 64, 3, padding=1, groups=4, bias=False)
        self.large = nn.Conv2d(64, 64, 7, padding=3, groups=64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.depthwise(self.wide(self.stem(x).relu()).relu()).relu()
        return self.head(self.large(self.grouped(x).relu()).mean((2, 3)))


@pytest.fixture(scope="module")
def images(data_dir) -> CalibrationImages:
    return CalibrationImages(read_folder(data_dir / "train").spread(24), Preprocess(size=SIZE))


@pytest.fixture(scope="module")
def network() -> Canonical:
    torch.manual_seed(0)
    return canonical_form(Clamped().eval(), (3, SIZE, SIZE))


def _weights(canonical: Canonical) -> list[str]:
    convs = canonical.form(XNNPACK_FORM).modules()
    return [m.tensor for m in convs if isinstance(m, NamedConv2d)]


@torch.no_grad()
def _error(canonical: Canonical, reference: Canonical, x: torch.Tensor) -> float:
    form = canonical.form(XNNPACK_FORM)
    rounded = compensation._rounded(form, _weights(canonical))
    return sqnr_db(reference.form(XNNPACK_FORM)(x).numpy(), rounded(x).numpy())


def test_the_network_comes_out_nearer(network, images, data_dir, monkeypatch):
    monkeypatch.setattr(compensation, "ENOUGH", np.inf)
    form, weights = network.form(XNNPACK_FORM), _weights(network)
    state = compensate(form, weights, images)
    # The 7x7 kernel is cut in this form and whole in others.
    layers = "stem", "wide", "depthwise", "grouped", "head"
    assert state.keys() == {f"{n}.{part}" for n in layers for part in ("weight", "bias")}
    changed = network.with_state(network.state() | state)
    other = read_folder(data_dir / "val").spread(16)
    held_out = CalibrationImages(other, Preprocess(size=SIZE)).first(16)
    assert _error(changed, network, held_out) > _error(network, network, held_out) + 3
    for name in layers:
        w = state[f"{name}.weight"].numpy()
        before = np.array(weight_params("", network.state()[f"{name}.weight"].numpy()).scale)
        codes = w / before.reshape(-1, 1, 1, 1)
        assert np.abs(codes - codes.round()).max() < 1e-3 and np.abs(codes).max() < 127.001
        assert np.allclose(weight_params("", w).scale, before, rtol=1e-6)


@torch.no_grad()
def test_errors_are_taken_back_where_inputs_go_together(network, images):
    """Of one layer: against its own inputs, and as theory has it for inputs of their own."""
    form = network.form(XNNPACK_FORM)
    (wide,) = (m for m in form.modules() if isinstance(m, NamedConv2d) and m.module == "wide")
    (moments,) = second_moments(form, [wide], images).values()
    assert moments.shape == (1, 17, 17) and moments[0, -1, -1] == pytest.approx(1)
    own = wide.weight.detach()
    scale = torch.tensor(weight_params("", own.numpy()).scale)[:, None, None, None]
    nearest = (own / scale).round() * scale

    def error(weight, bias, m):
        d = torch.cat([(weight - own).flatten(1), (bias - wide.bias)[:, None]], 1).double()
        return float((d @ m[0] * d).sum())

    weight, bias = compensated(wide, moments)
    assert error(weight, bias, moments) < 0.5 * error(nearest, wide.bias, moments)
    weight, bias = compensated(wide, torch.eye(17, dtype=torch.float64)[None])
    assert torch.equal((weight / scale).round(), (nearest / scale).round())
    assert torch.allclose(bias, wide.bias)


def test_a_network_whose_rounding_costs_little_stays(network, images, monkeypatch):
    monkeypatch.setattr(compensation, "ENOUGH", 0.0)
    assert compensate(network.form(XNNPACK_FORM), _weights(network), images) == {}
