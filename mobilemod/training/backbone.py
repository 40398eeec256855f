"""A network that stands on a classifier starts from the classifier's weights."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from mobilemod.networks.checkpoints import bundled_checkpoint, load_checkpoint

BACKBONE = "backbone."


def take_backbone(model: nn.Module, checkpoint: Path | None) -> str:
    """Set the weights behind `BACKBONE`, and tell which on stderr; returns where from, in words.

    checkpoint: of the classifier that the network's variant names, whatever its classes; None for
    the bundled one, where there is none nothing is set. `UserError` for one that doesn't fit.
    """
    variant = model.variant.backbone.name
    path = checkpoint or bundled_checkpoint(variant)
    if path is None:
        print(f"no --backbone, and none of {variant} is bundled: from scratch", file=sys.stderr)
        return "from scratch"
    loaded = load_checkpoint(path, variant)
    own = model.state_dict().keys()
    taken = {name: v for k, v in loaded.state.items() if (name := BACKBONE + k) in own}
    model.load_state_dict(taken, strict=False)
    left = [k for k in loaded.state if BACKBONE + k not in own]
    print(
        f"backbone: {len(taken)} of {len(loaded.state)} tensors of {path}; "
        f"not taken: {', '.join(left)}",
        file=sys.stderr,
    )
    return f"from the backbone of {path.name} (sha256 `{loaded.sha256}`)"
