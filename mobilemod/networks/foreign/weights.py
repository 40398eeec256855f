"""Weights of a user's checkpoint for any module, strictly by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mobilemod.errors import UserError
from mobilemod.networks.checkpoints import Taken, choose, float32
from mobilemod.networks.reading.files import read_checkpoint
from mobilemod.networks.reading.fit import check_dense, misfits, summed
from mobilemod.networks.reading.sets import require_sets


def floats(path: Path, tensors: Mapping[str, Any], names: set[str]) -> dict[str, Tensor]:
    """Those called `names` in float32, the others as they are.

    `UserError` for what is no tensor, no float or not finite.
    """
    check_dense(path, tensors, names)
    return {k: float32(path, k, v) if k in names else v for k, v in tensors.items()}


def fill(module: nn.Module, path: Path, network: str) -> Taken:
    """Put the weights of a checkpoint into `module`; which of several sets was taken.

    Averages (EMA) come before plain weights; prefixes of tools are taken off; counters of batches
    may be missing. network: for people. Raises `UserError` for a file that can't be read, would run
    code or doesn't fit.
    """
    own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    content, _ = read_checkpoint(path)
    sets = require_sets(path, content, (rf"{re.escape(name)}$" for name in own))
    chosen, taken = choose(content, sets, [len(misfits(s.tensors, shapes)) for s in sets])
    values = floats(path, chosen.tensors, {k for k, v in own.items() if v.is_floating_point()})
    check_fit(path, network, misfits(values, shapes), set(values) - set(own))
    module.load_state_dict(values, strict=False)  # of all names but the counters'
    return taken


def check_fit(path: Path, network: str, problems: list[str], extra: set[str]) -> None:
    """`UserError` where there is a problem, or a name that the network hasn't."""
    problems = problems + [f"{name} unexpected" for name in sorted(extra)]
    if problems:
        raise UserError(
            f"{path} doesn't fit {network}: {summed(problems)}; give a checkpoint of this network"
        )
