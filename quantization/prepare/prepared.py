"""Prepared weights: what is quantized, where that isn't the checkpoint as it came.

Equalization, bias correction, learned rounding and quantization-aware training all end here:
float32 weights by the canonical form's names (`Canonical.state`), and the ranges observed with
them. Everything after, tables and lowerings, is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from mobilemod.errors import UserError
from mobilemod.networks.checkpoints import save_checkpoint
from quantization.calibration import Calibration, load_calibration, weights_digest

WEIGHTS_FILE = "prepared.safetensors"
CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True)
class Prepared:
    """Weights to quantize and their ranges.

    state: float32 by canonical name. calibration: `calibration.weights` is `state`'s digest.
    reference: the digest of the float network that drops are measured against.
    origin: how it came about, for people: "images", "training", a table's name.
    """

    state: dict[str, Tensor]
    calibration: Calibration
    reference: str
    origin: str

    def save(self, folder: Path) -> None:
        """Write `WEIGHTS_FILE` and `CALIBRATION_FILE` into `folder`, each in one rename.

        Equal weights give equal bytes.
        """
        metadata = {"reference": self.reference, "origin": self.origin}
        save_checkpoint(folder / WEIGHTS_FILE, self.state, metadata, torch.float32)
        self.calibration.save(folder / CALIBRATION_FILE)


def load_prepared(folder: Path) -> Prepared:
    """What `Prepared.save` wrote; `UserError` where a file is missing, damaged or of others."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no {WEIGHTS_FILE}")
    state, metadata = read_weights(path)
    if not {"reference", "origin"} <= metadata.keys():
        raise UserError(f"{path} is damaged (it doesn't say what it was prepared from)")
    calibration = load_calibration(folder / CALIBRATION_FILE)
    if calibration.weights != weights_digest(state):
        raise UserError(f"{path} and {CALIBRATION_FILE} beside it are of different weights")
    return Prepared(state, calibration, metadata["reference"], metadata["origin"])


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file and its metadata; `UserError` where it is damaged."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return found, file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} is damaged ({error})") from None
