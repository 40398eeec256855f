"""Two convolutions with GELU and a pooled head: a network of another family, as one file.

Tests put it beside the families of `mobilemod.networks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.mobile import MobileForm
from mobilemod.forms.mobile_ops import FormOptions, NamedConv2d, Tap, pointwise
from mobilemod.networks.family import Family


@dataclass(frozen=True)
class Variant:
    """Shape of one variant."""

    name: str
    width: int


VARIANTS = {
    "toy_small": Variant("toy_small", 16),
    # Files of some megabytes.
    "toy_large": Variant("toy_large", 512),
}


class Toy(nn.Module):
    """The classification network: (B, 3, H, W) to (B, num_classes)."""

    def __init__(self, variant: Variant, num_classes: int, drop_path: float = 0.0):
        super().__init__()
        self.variant, self.num_classes, self.drop_path = variant, num_classes, drop_path
        self.stem = nn.Conv2d(3, variant.width, 4, stride=4)
        self.body = nn.Conv2d(variant.width, 2 * variant.width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * variant.width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.body(F.gelu(self.stem(x))))
        return self.fc(x.mean((2, 3)))


class Convolution(nn.Module):
    """A convolution and GELU, with their tensors named."""

    def __init__(self, module: str, conv: nn.Conv2d):
        super().__init__()
        self.tap_in = Tap(f"{module}:in")
        self.conv = NamedConv2d(
            module, "", conv.weight, conv.bias, stride=conv.stride, padding=conv.padding
        )
        self.tap_out, self.tap_gelu = Tap(f"{module}:out"), Tap(f"{module}:gelu")

    def forward(self, x: Tensor) -> Tensor:
        return self.tap_gelu(F.gelu(self.tap_out(self.conv(self.tap_in(x)))))


class ToyForm(MobileForm):
    """The network in mobile form."""

    def __init__(self, model: Toy, options: FormOptions):
        super().__init__(model, options)
        self.layers = nn.ModuleList(
            Convolution(name, model.get_submodule(name)) for name in ("stem", "body")
        )
        self.tap_pooled = Tap("fc:in")
        self.fc = pointwise("fc", model.fc.weight, model.fc.bias)
        self.tap_fc = Tap("fc:out")

    def finish(self, x: Tensor) -> Tensor:
        x = self.tap_pooled(x.mean((2, 3), keepdim=True))
        return self.tap_fc(self.fc(x)).flatten(1)


def _adapt(tensors: dict) -> dict:
    return {name.replace("classifier.", "fc."): value for name, value in tensors.items()}


FAMILY = Family(
    title="Toy",
    variant=Variant,
    build=Toy,
    mobile=ToyForm,
    preprocess=Preprocess(64, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    head="fc",
    adapt=_adapt,
    labels=("dog", "cat", "bird"),
    source="a file of ours",
)
