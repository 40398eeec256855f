"""Ops that Core ML's converter or the check of its package once took for others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.targets.base import ModelInfo
from export.targets.coreml.evaluator import compile_program
from export.targets.coreml.reader import open_package
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM

SIZE = 32
INFO = ModelInfo("pattern", ("a", "b"), Preprocess(size=SIZE))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)


class Between(nn.Module):
    """`made` of a convolution's result, (B, 16, 8, 8)."""

    def __init__(self, made):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 2)
        self.norm, self.made = nn.GroupNorm(4, 16), made

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.made(self, self.first(x)).mean((2, 3)))


MADE = {
    "both kinds of GELU": lambda m, x: F.gelu(F.gelu(x, approximate="tanh") + x),
    "a norm of several groups": lambda m, x: m.norm(x),
}


@pytest.mark.parametrize("name", MADE)
def test_the_package_computes_what_its_form_does(name, tmp_path):
    target, path = get_target("coreml"), tmp_path / "pattern.mlpackage"
    form = canonical_form(Between(MADE[name]).eval(), (3, SIZE, SIZE)).form(COREML_FORM)
    target.lower(form, INFO, path, int8=False)
    target.check(path, form, INFO.preprocess.normalize(PIXELS))
    steps = compile_program(open_package(path)).steps
    modes = [str(s.op.inputs["mode"].val) for s in steps if s.kind == "gelu"]
    assert modes == (["TANH_APPROXIMATION", "EXACT"] if "GELU" in name else [])
