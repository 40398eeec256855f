"""What a module is, found by running it once: its channels, its logits, how many there are."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobilemod.errors import UserError

if TYPE_CHECKING:
    from mobilemod.tasks.task import Task

WORDS = 200  # characters of another's error
# In the names of files that aren't a user's: ours, installed packages, Python's own.
NOT_OWN = (str(Path(__file__).parent), "-packages", "<frozen", str(Path(inspect.__file__).parent))
# Of red, green and blue in grey. Source: ITU-R BT.601, as Pillow's mode "L".
LUMA = (0.299, 0.587, 0.114)


class Logits(nn.Module):
    """A network whose output has logits among others: float (B, C, H, W) to them alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return _logits_in(self.network(x))


class Grey(nn.Module):
    """A network of grey images, as one of colour: float (B, 3, H, W) to what it gives.

    All channels are normalized alike, so that grey of the normalized is the normalized grey.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.grey = nn.Conv2d(3, 1, 1, bias=False)
        self.grey.weight.data = torch.tensor(LUMA).view(1, 3, 1, 1)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.grey(x))


def wrong(source: str, text: str) -> UserError:
    """The error for a network: what was given, what is wrong and the mend."""
    return UserError(f"--network {source}: {' '.join(text.split())}")


def words(error: BaseException) -> str:
    """The innermost error's kind and first line, and where a user's own code raised it."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next(iter(str(error).strip().splitlines()), "")[:WORDS]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in NOT_OWN)]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}{f': {first}' if first else ''}{where}"


def first_convolution(module: nn.Module) -> nn.Conv2d | None:
    """The one registered first, which takes the image in every network known; None without any."""
    return next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)


def channels_of(module: nn.Module, source: str) -> int:
    """1 for grey or 3, by the first convolution; 3 without one. `UserError` for others."""
    first = first_convolution(module)
    channels = 3 if first is None else first.in_channels
    if channels not in (1, 3):
        raise wrong(source, f"takes {channels} channels; 1 (grey) and 3 (colour) are supported")
    return channels


def as_network(
    module: nn.Module, channels: int, sides: tuple[int, int], source: str, task: Task
) -> tuple[nn.Module, int]:
    """The module as it gives what `task` takes alone, (B, K) or maps, and the number K of outputs.

    It is run once on zeros, float (1, channels, *sides). `UserError` where it needs more than
    the image, fails, gives anything else, or another number of outputs than the task takes.
    """
    needed = [
        p.name
        for p in inspect.signature(module.forward).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(needed) > 1:
        raise wrong(
            source,
            f"needs {len(needed)} inputs ({', '.join(needed)}); wrap it so that it takes the "
            "image alone",
        )
    shape = (channels, *sides)
    try:
        with torch.no_grad():
            output = module(torch.zeros(1, *shape))
    except Exception as error:
        raise wrong(
            source,
            f"fails on an image of {' x '.join(map(str, shape))}: {words(error)}; give --size HxW "
            "if it takes another size",
        ) from error
    if not isinstance(output, Tensor):
        module, output = Logits(module), _logits_in(output)
        if not isinstance(output, Tensor):
            raise wrong(source, f"gives {_kind(output)}; wrap it so that it gives the logits alone")
    dims = task.dims
    if output.ndim != len(dims) or output.shape[0] != 1 or not output.is_floating_point():
        shape = " x ".join(map(str, output.shape)) or "one number"
        raise wrong(
            source,
            f"gives {shape} of {output.dtype} for one image; {task.name} takes float "
            f"{task.output}, {' x '.join(dims)}",
        )
    outputs = output.shape[1]
    if task.counts is not None and outputs not in task.counts:
        raise wrong(source, f"has {outputs} outputs; {task.name} takes {task.counts}")
    return module.eval(), outputs


def _logits_in(output: Any) -> Any:
    """The tensor called `logits` in an output of several, or its only one; else the output."""
    values = output if isinstance(output, Mapping) else getattr(output, "__dict__", {})
    held = [v for v in values.values() if isinstance(v, Tensor)]
    logits = values.get("logits", held[0] if len(held) == 1 else None)
    return logits if isinstance(logits, Tensor) else output


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dict of {', '.join(map(str, output)) or 'nothing'}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"
