"""A network that stands on a classifier starts from the classifier's weights, or from its own."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from mobilemod.networks.checkpoints import bundled_checkpoint, load_checkpoint
from mobilemod.training.learner import Images

BACKBONE = "backbone."


def take_weights(model: nn.Module, images: Images, checkpoint: Path | None) -> str:
    """Set the weights that training starts from, and tell which on stderr; returns where from, in
    words.

    images: gives normalized ones (B, 3, H, W). checkpoint: of the network itself, with as many
    classes, or of the classifier that its variant names, whatever its classes; None for the bundled
    one of that, where there is none nothing is set. `UserError` for one that doesn't fit.
    """
    variant = model.variant.backbone.name
    path = checkpoint or bundled_checkpoint(variant)
    if path is None:
        print(f"no --checkpoint, and none of {variant} is bundled: from scratch", file=sys.stderr)
        balance(model, images())
        return "from scratch"
    loaded = load_checkpoint(path)
    own = model.variant.name
    whole = loaded.variant == own
    if whole and loaded.num_classes != model.num_classes or loaded.variant not in (own, variant):
        # Read again as what it should be, to be told what doesn't fit.
        expected = (own, model.num_classes) if whole else (variant, None)
        loaded = load_checkpoint(path, *expected)
    if whole:
        model.load_state_dict(loaded.state)
        print(f"start: all weights of {path}", file=sys.stderr)
        return f"from {path.name} (sha256 `{loaded.sha256}`)"
    names = model.state_dict().keys()
    taken = {name: v for k, v in loaded.state.items() if (name := BACKBONE + k) in names}
    model.load_state_dict(taken, strict=False)
    left = [k for k in loaded.state if BACKBONE + k not in names]
    print(
        f"start: {len(taken)} of {len(loaded.state)} tensors of {path}; "
        f"not taken: {', '.join(left)}",
        file=sys.stderr,
    )
    balance(model, images())
    return f"from the backbone of {path.name} (sha256 `{loaded.sha256}`)"


@torch.no_grad()
def balance(model: nn.Module, x: Tensor) -> None:
    """Scale the convolutions that take the backbone's maps so that all give what is as large.

    x: normalized images (B, 3, H, W). The maps have no norm, and later stages' are many times
    larger: in the neck's sums the fine maps would be lost, and batch norms' statistics be beyond
    float16. The largest stays as it is. The kind of start is that of Mishkin and Matas, "All you
    need is a good init", ICLR 2016.
    """
    maps = model.backbone.eval()(x)
    sizes = [float(one.square().mean().sqrt()) for one in maps]
    for lateral, size in zip(model.neck.lateral_convs, sizes, strict=True):
        lateral.conv.weight.mul_(max(sizes) / size)


@torch.no_grad()
def settle(model: nn.Module) -> None:
    """Make the maps between backbone and head about 1 in size, with the same outputs.

    Batch norms forgive any size, so weights before them grow as they are trained, and variances
    leave float16's range. What the neck's convolutions give is divided here, half of it (by ratio)
    before the sums, and the statistics that follow with it; only `eps` weighs more then.
    """
    units = [levels[0] for levels in model.decode_head.scale_heads]
    sizes = [unit.bn.running_var.mean().sqrt() for unit in units]
    half = min(sizes).sqrt()
    for lateral, fpn, unit, size in zip(
        model.neck.lateral_convs, model.neck.fpn_convs, units, sizes, strict=True
    ):
        for value in (lateral.conv.weight, lateral.conv.bias):
            value.div_(half)
        fpn.conv.weight.mul_(half / size)
        fpn.conv.bias.div_(size)
        unit.bn.running_mean.div_(size)
        unit.bn.running_var.div_(size**2)
