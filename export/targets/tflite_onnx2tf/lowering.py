"""TFLite by onnx2tf: a mobile form in float as `.tflite` in each precision that onnx2tf makes.

The files are onnx2tf's to the byte: no labels in them, and the int8 one takes and gives codes. One
run makes all precisions, so that it is kept for those that are asked for next.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.quiet import quiet
from export.targets.base import ModelInfo
from export.targets.environment import recipe_of
from export.targets.tflite_onnx2tf.convert import convert, made_file, write_onnx
from mobilemod.closure import code_digest
from mobilemod.errors import UserError
from mobilemod.files import atomic_folder, atomic_path, file_sha256, only_one
from mobilemod.targets.tflite_onnx2tf import FACTS
from quantization.calibration import cache_path


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write what onnx2tf makes of `module`, in float, in the precision that `info` names.

    Raises `UserError` where there are no images to calibrate on, or onnx2tf wrote no such file.
    """
    if info.images is None:
        raise UserError(f"{FACTS.name} observes ranges of its own and has no images to do it on")
    precision = info.precision or ("int8" if int8 else FACTS.twin)
    _copy(made_file(_converted(module, info), precision), path)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Copy the file: there are no labels in it."""
    del info, int8
    _copy(source, path)


def _converted(module: nn.Module, info: ModelInfo) -> Path:
    """The folder of all files of one run, from the cache or made."""
    taken, images = info.preprocess, info.images
    with tempfile.TemporaryDirectory() as name:
        onnx = Path(name, "model.onnx")
        with torch.no_grad(), quiet():
            write_onnx(module.eval(), (torch.zeros(1, *taken.shape),), onnx)
        parts = (
            file_sha256(onnx),
            hashlib.sha256(images.tobytes()).hexdigest(),
            images.shape,
            taken.to_dict(),
            recipe_of(FACTS.environment),
            code_digest(convert.__module__),
        )
        folder = cache_path("onnx2tf", json.dumps(parts), "")
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / "files"
        with only_one(folder):
            if not made.exists():
                with atomic_folder(made) as out:
                    pixels = images.astype(np.float32) / 255
                    convert(onnx, out / "files", pixels, taken.mean, taken.std)
    return made / "files"


def _copy(source: Path, path: Path) -> None:
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
