"""The network of an export: one of ours by name, or one that a user brings."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.quiet import quiet
from mobilemod.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from mobilemod.networks.foreign.opened import Asked, Opened

FOLDER = "hf:"
# What is told of a network that isn't ours; of ours it is known.
TOLD = ("mean", "std", "crop_fraction", "interpolation", "labels")


def open_network(
    network: str | nn.Module | None, model: str | None, checkpoint: Path | None, **said: Any
) -> Opened | None:
    """The network that a user brings; None where `network` is None, which stands for ours.

    network: "package.module:function", "hf:DIR", or the module itself, of which a copy is taken.
    said: of `Asked`, None where nothing is. `UserError` for what doesn't go together and for a
    network that can't be opened.
    """
    said = {key: value for key, value in said.items() if value is not None}
    if network is None:
        for name in (name for name in TOLD if name in said):
            raise UserError(f"--{name.replace('_', '-')} goes with --network")
        if isinstance(said.get("size"), tuple):
            height, width = said["size"]
            raise UserError(
                f"--size {height}x{width}: rectangles go with --network; ours take squares"
            )
        return None
    if model is not None:
        raise UserError("--model and --network both say which network; give one of them")
    from mobilemod.networks.foreign.opened import Asked

    if not isinstance(network, str):
        if checkpoint is not None:
            raise UserError("--checkpoint doesn't go with a module, which holds its weights")
        return _open_object(network, Asked(**said))
    folder = network.removeprefix(FOLDER)
    if folder == network:
        from mobilemod.networks.foreign.factory import open_function

        return open_function(network, checkpoint, Asked(**said))
    if checkpoint is not None:
        raise UserError(f"--checkpoint doesn't go with {FOLDER}DIR, which holds its weights")
    from mobilemod.networks.foreign.hugging_face import open_folder

    asked = Asked(**said)
    with quiet():  # the library is loud when it is imported
        return open_folder(Path(folder).expanduser(), asked)


def _open_object(module: nn.Module, asked: Asked) -> Opened:
    """A module as it is in memory; what stands for its file in records are its weights."""
    from torch import nn

    from mobilemod.networks.foreign.opened import open_module
    from quantization.calibration import weights_digest

    if not isinstance(module, nn.Module):
        kind = type(module).__name__
        raise UserError(f"network is a {kind}; give a torch.nn.Module, a name, or hf:DIR")
    kind = type(module)
    source = f"{kind.__module__}:{kind.__qualname__}"
    opened = open_module(kind.__name__, copy.deepcopy(module), source, asked, ())
    digest = weights_digest(opened.module.state_dict())
    return dataclasses.replace(opened, files=((Path(kind.__name__), digest),))
