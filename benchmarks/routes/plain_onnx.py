"""The routes through ONNX: ONNX Runtime, and onnx2tf to TFLite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from export.targets.environment import folder_of
from export.targets.tflite_onnx2tf.convert import INPUT, convert, made_file, write_onnx
from mobilemod.targets.tflite_onnx2tf import FACTS

if TYPE_CHECKING:
    # Not part of what these files are made by: a cache would lose them with each change of ours.
    from benchmarks.routes.network import CalibratedNetwork


def onnx_published(network: CalibratedNetwork, path: Path) -> None:
    """torch.onnx.export of the published form; ONNX Runtime's float file."""
    _write_onnx(network.published(), network, path)


def onnx_mobile(network: CalibratedNetwork, path: Path) -> None:
    """torch.onnx.export of the mobile form."""
    _write_onnx(network.mobile(), network, path)


def _write_onnx(module: nn.Module, network: CalibratedNetwork, path: Path) -> None:
    write_onnx(module, network.sample(), path)


def ort_int8(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """quant_pre_process and quantize_static: QDQ, every op that it knows."""
    _quantize_onnx(network, path, source, **_for_vnni())


def ort_int8_products(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """The same for convolutions and matrix products alone: the accurate choice."""
    ops = ["Conv", "MatMul", "Gemm"]
    _quantize_onnx(network, path, source, op_types_to_quantize=ops, **_for_vnni())


def ort_int8_default(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """The same with no option set: int8, smallest and largest value, one scale per tensor."""
    _quantize_onnx(network, path, source)


def _for_vnni() -> dict[str, Any]:
    """uint8 activations and int8 weights per channel: what x86's VNNI multiplies directly."""
    from onnxruntime.quantization import QuantFormat, QuantType

    return {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
    }


def _quantize_onnx(network: CalibratedNetwork, path: Path, source: Path, **options: Any) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(network.batches())

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.rest, None)
            return None if x is None else {INPUT: x.numpy()}

    prepared = path.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared))
    quantize_static(str(prepared), str(path), Reader(), **options)
    prepared.unlink()


def onnx2tf_environment() -> Path:
    """The folder of onnx2tf's virtual environment; it need not exist."""
    return folder_of(FACTS.environment)


def onnx2tf_folder(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """A folder with all files that onnx2tf makes; raises as `convert`."""
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (network.mean, network.std))
    pixels = np.moveaxis((network.images * std + mean).clip(0, 1), 1, -1)
    convert(source, path, pixels, network.mean, network.std)


def onnx2tf_file(precision: str, network: CalibratedNetwork, path: Path, folder: Path) -> None:
    """One precision out of `onnx2tf_folder`'s folder; `UserError` where onnx2tf didn't write it."""
    del network
    os.link(made_file(folder, precision), path)
