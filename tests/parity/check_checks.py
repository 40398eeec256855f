"""What the check of a lowered file must find, whatever the target."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.checking import check_lowered
from export.targets.base import ModelInfo
from export.targets.target import target_of_file
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import NamedConv2d
from mobilemod.forms.ops import Call
from quantization.program import QuantizedConv2d

CONV = "layers.2.blocks.0.attn.qkv"
ATTENTION = "layers.2.blocks.0.attn:softmax"


def check(path: Path, form: Form, program: nn.Module, images: torch.Tensor) -> None:
    card = Preprocess(size=images.shape[-1]).normalize(draw_card(images.shape[-1])[None])
    given = np.concatenate([card, images.numpy()])
    info = ModelInfo("", (), Preprocess(size=images.shape[-1]))
    check_lowered(target_of_file(path), info, path, form, program, given)


def check_catches(path: Path, form: Form, program: nn.Module, images: torch.Tensor) -> None:
    """The file passes beside its program, and is told from three that are nearly it."""
    check(path, form, program, images)

    def refusal(changed: nn.Module) -> str:
        with pytest.raises(UserError) as caught:
            check(path, form, changed, images)
        text = str(caught.value)
        assert text.startswith(f"{path.name}: the file doesn't compute what its program does: ")
        assert "\n" not in text
        return text.partition("the first tensor that parts: ")[2]

    kinds = NamedConv2d | QuantizedConv2d
    names = [n for n, m in program.named_modules() if isinstance(m, kinds)]
    name = next(n for n in names if program.get_submodule(n).module.startswith(CONV))
    heavier, unbiased = copy.deepcopy(program), copy.deepcopy(program)
    conv = heavier.get_submodule(name)
    with torch.no_grad():
        (conv.scales if hasattr(conv, "scales") else conv.weight).mul_(1.05)
        unbiased.get_submodule(names[0]).bias.zero_()
    assert refusal(heavier).startswith(CONV)
    assert refusal(unbiased).startswith("patch_embed")
    turned = copy.deepcopy(program)
    for op in turned.modules():
        if isinstance(op, Call) and "softmax" in op.kind:
            op.args[1] = -2  # over the queries instead of the keys
    assert refusal(turned).startswith(ATTENTION)
