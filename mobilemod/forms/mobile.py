"""The mobile form of a network: the same function in the shape phones are fast at.

Every tensor that a quantizer may want stands at a `Tap`, an identity that carries the tensor's
name: the published network's module path, a colon, and the tensor's role
(`layers.0.blocks.1.mlp.fc1:out`). Every convolution carries its published module's path too. Each
family of networks builds its own form, of `mobile_ops`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.forms.mobile_ops import FormOptions
from mobilemod.networks.registry import family_of, module_of


class MobileForm(nn.Module):
    """A network in mobile form: `layers` one after the other, then `finish`.

    Input float (B, 3, H, W), normalized; output float (B, num_classes), logits.
    family: the module of the network's family. variant: the network's.
    """

    layers: nn.ModuleList

    def __init__(self, model: nn.Module, options: FormOptions):
        super().__init__()
        self.family = module_of(model)
        self.variant = model.variant
        self.num_classes = model.num_classes
        self.options = options

    def finish(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of what the last layer gave."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.finish(x)


@torch.no_grad()
def build_mobile(model: nn.Module, options: FormOptions) -> MobileForm:
    """The mobile form of `model`, in eval mode; equal to it within 1e-4 per logit in float32.

    `UserError` where the family has none.
    """
    family = family_of(model)
    if family.mobile is None:
        raise UserError(
            f"{family.title} has no mobile form yet: its networks can be loaded and trained, not "
            "exported; give a model of another family"
        )
    return family.mobile(model.eval(), options).eval()
