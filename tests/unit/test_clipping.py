"""Ranges that clip: kept where only values are lost, not where the output is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from quantization.calibration import CalibrationImages, calibrate_on, weights_digest
from quantization.prepare.clipping import without_harmful_clipping
from quantization.recipe import load_recipe

SIZE = 48


class Rare(nn.Module):
    """Before the mean, few large values among many zeros: the classifier misses what is clipped."""

    def __init__(self):
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 32, 1)
        self.head = nn.Linear(32, 5, bias=False)
        nn.init.constant_(self.last.bias, -6.0)
        self.last.weight.data *= 4

    def forward(self, x):
        return self.head(self.last(self.stem(x).relu()).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def images(data_dir) -> CalibrationImages:
    return CalibrationImages(read_folder(data_dir / "train").spread(16), Preprocess(size=SIZE))


def test_a_range_whose_clipping_the_output_shows_is_whole(images):
    torch.manual_seed(0)
    canonical = canonical_form(Rare().eval(), (3, SIZE, SIZE))
    form, recipe = canonical.form(XNNPACK_FORM), load_recipe("cpu")
    seen = calibrate_on(form, weights_digest(canonical.state()), images)
    checked = without_harmful_clipping(form, recipe, seen, images)
    changed = {k for k, v in checked.observed.items() if v != seen.observed[k]}
    assert changed == {"last:relu"}
    low, high = seen.observed["last:relu"].range("mse")
    assert high < 0.8 * seen.observed["last:relu"].high
    assert checked.observed["last:relu"].range("mse") == (0.0, seen.observed["last:relu"].high)
    whole = dataclasses.replace(recipe, observer="minmax")
    assert without_harmful_clipping(form, whole, seen, images) == seen
