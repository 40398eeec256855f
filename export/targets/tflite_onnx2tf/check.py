"""onnx2tf's files beside the float network that it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.targets.comparison import Parting, compare_outputs, outputs
from export.targets.tflite_onnx2tf.graph import read_graph
from export.targets.tflite_onnx2tf.running import load
from mobilemod.evaluation.agreement import sqnr_db

# Least signal-to-noise ratio of the outputs. What a conversion gets wrong shows in the float32
# file, of the same run, which is compared to the last digits; what rounding to integers costs is a
# matter of the ranges that onnx2tf observed, and told by validation.
MIN_DB = {"int8": 3.0, "float16": 40.0}


def check_file(path: Path, program: nn.Module, images: np.ndarray) -> None:
    """`Parting` where the file doesn't compute what `program`, in float, does."""
    found, kind = load(path).run_many(images), precision_of(path)
    if kind not in MIN_DB:
        compare_outputs(path, program, images, found)
        return
    expected = outputs(program, images)
    decibel = sqnr_db(expected, found.reshape(expected.shape))
    if not decibel >= MIN_DB[kind]:
        # Not looked into: nothing of it but the outputs is to be compared.
        raise Parting(path, f"SQNR {decibel:.1f} dB, {MIN_DB[kind]:g} dB wanted", runs=False)


def precision_of(path: Path) -> str:
    """ "int8", "float16" or "float32", by what the file stores."""
    kinds = {t.dtype for t in read_graph(path).tensors.values() if t.constant}
    return next((k for k in MIN_DB if k in kinds), "float32")
