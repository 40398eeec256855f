"""What this machine answers on the same images: what a device's answers are held against.

Implemented in export/, which knows the runtimes; passed in by the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class HostAnswers:
    """Answers on N images that this machine could read.

    names: their names in the job. reference: float32 (N, K) of the bundle's float network. files:
    by model file, float32 (N, K) of the same file run here. Of both what the task keeps. targets:
    (N, …); None: the job's items say them.
    """

    names: tuple[str, ...]
    reference: np.ndarray
    files: Mapping[str, np.ndarray]
    targets: np.ndarray | None = None


class HostSide(Protocol):
    """The bundle's network and files on this machine."""

    def answers(self, files: Sequence[str]) -> HostAnswers:
        """Of the float network and these files on the job's images; cached by content."""

    def run(self, file: str, x: np.ndarray) -> np.ndarray:
        """float32 outputs (N, K), of maps (N, K, h, w), of one file on x, float32 (N, 3, H, W),
        normalized."""

    def parts_at(self, file: str, delegate: str, x: np.ndarray) -> str | None:
        """The first tensor at which a file, run here, parts from what it was lowered from, in
        words; None where none does, or where that can't be told.

        delegate: what it is run on, where this machine has that; else what is usual here. x:
        float32 (1, 3, H, W), normalized.
        """
