"""Norms' squares and variances in int8: ranges by what each position loses of its own variance."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM, MobileNorm
from quantization.calibration import FORM, Calibration, CalibrationImages, calibrate_on
from quantization.prepare.norms import with_relative_variances
from quantization.program import make_table, quantize
from quantization.recipe import Rule, load_recipe

SIZE = 32


class Normed(nn.Module):
    """A LayerNorm over the channels of each position; `loud` ones are six times as large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 24, 4, 4)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)
        loud = torch.ones(1, 1, SIZE // 4, SIZE // 4)
        loud[..., :1, :2] = 6.0
        self.register_buffer("loud", loud)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.stem(x) * self.loud).permute(0, 2, 3, 1)
        return self.head(F.relu(self.norm(x))).mean((1, 2))


@pytest.mark.parametrize("observer", ["mse", "minmax"])
@torch.no_grad()
def test_small_variances_keep_their_precision(observer, data_dir):
    network = Normed().eval()
    folder = read_folder(data_dir / "train").spread(16)
    images = CalibrationImages(folder, Preprocess(size=SIZE))
    form = canonical_form(network, (3, SIZE, SIZE)).form(XNNPACK_FORM)
    norms = [m for m in form.modules() if isinstance(m, MobileNorm)]
    inner = {t.tensor for n in norms for t in (n.tap_square, n.tap_variance)}
    seen = calibrate_on(form, "", images)
    chosen = with_relative_variances(form, seen, images)
    changed = {k for k, v in chosen.observed.items() if v != seen.observed[k]}
    assert changed == inner and len(inner) == 2
    assert all(chosen.observed[t].high == seen.observed[t].high for t in inner)

    recipe = load_recipe("npu")
    recipe = dataclasses.replace(
        recipe, rules=(*recipe.rules, Rule("int8", role="norm.*", observer=observer))
    )
    x = images.first(16)

    def quality(calibration: Calibration) -> float:
        program = quantize(form, make_table(form, FORM, recipe, calibration), True)
        return sqnr_db(network(x).numpy(), program(x).numpy())

    if observer == "mse":
        assert quality(chosen) > quality(seen) + 10
    else:
        assert quality(chosen) == quality(seen)
