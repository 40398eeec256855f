"""Several processes that train one network, as `torchrun` starts them.

Each makes its share of every batch, gradients are averaged (DistributedDataParallel), and all
hold the same weights; the first one measures, saves and tells.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed
from torch import nn

from mobilemod.errors import UserError

# The others wait while the first one measures.
PATIENCE = timedelta(hours=4)


@dataclass(frozen=True)
class Processes:
    """rank: this one's number, from 0. count: how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that measures, saves and tells."""
        return self.rank == 0

    def share(self, places: np.ndarray) -> np.ndarray:
        """This process's places of a batch: a piece, and its mirror image in the batch.

        What is mixed with an image, the one at the mirrored place, is in the same process.
        """
        half = len(places) // 2
        if self.count == 1:
            return places
        piece = slice(self.rank * half // self.count, (self.rank + 1) * half // self.count)
        return np.concatenate((places[piece], places[::-1][piece][::-1]))

    def require_even(self, batch_size: int) -> None:
        """`UserError` unless a batch has as many images for each process, in pairs."""
        if self.count > 1 and batch_size % (2 * self.count):
            raise UserError(
                f"--batch-size {batch_size} isn't a multiple of {2 * self.count}: "
                f"{self.count} processes share each batch in pairs"
            )

    def mean(self, value: float) -> float:
        """Of the value over the processes."""
        if self.count == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        torch.distributed.all_reduce(total)
        return float(total) / self.count

    def averaged(self, model: nn.Module) -> nn.Module:
        """The same model, its gradients averaged over the processes in every step."""
        if self.count == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)


@contextmanager
def joined_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes of this run, and this one's device.

    Those of `torchrun`'s environment; one alone outside it.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(), device
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield Processes(torch.distributed.get_rank(), count), device
    finally:
        torch.distributed.destroy_process_group()
