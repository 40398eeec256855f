"""A float network in float16, for runtimes that take a network's numbers as they are."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from mobilemod.forms.mobile_ops import MobileNorm


class Half(nn.Module):
    """A form that holds and computes float16, but for the insides of its norms: squares there
    pass float16's largest number, 65,504, in networks whose results are nowhere near it. It takes
    and gives float32."""

    def __init__(self, form: nn.Module):
        super().__init__()
        self.form = copy.deepcopy(form).half()
        for path, norm in list(form.named_modules()):
            if isinstance(norm, MobileNorm):
                self.form.set_submodule(path, _Wide(norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x.half()).float()


class _Wide(nn.Module):
    """A module that computes float32 in a network of float16."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = copy.deepcopy(module)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.float()).half()
