"""The routes through ONNX: ONNX Runtime, and onnx2tf to TFLite.

onnx2tf needs TensorFlow and an older NumPy, so it runs in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mobilemod.errors import UserError

if TYPE_CHECKING:
    # Not part of what these files are made by: a cache would lose them with each change of ours.
    from benchmarks.routes.network import CalibratedNetwork

INPUT, OUTPUT = "image", "logits"
# From 20 on ONNX has Gelu as one op. Before, it is spelled out with Erf: onnx2tf's file then asks
# for TensorFlow's own Erf, which LiteRT lacks, and ONNX Runtime is slower.
OPSET = 20
ONNX2TF_SECONDS = 1800
ONNX2TF_ENV = "MOBILEMOD_ONNX2TF"
# The name under which onnx2tf looks for calibration images before it tries to download some.
ONNX2TF_IMAGES = "calibration_image_sample_data_20x128x128x3_float32.npy"
ONNX2TF_FILES = {
    "float32": "model_float32.tflite",
    "int8": "model_full_integer_quant.tflite",
    "dynamic": "model_dynamic_range_quant.tflite",
}


def onnx_published(network: CalibratedNetwork, path: Path) -> None:
    """torch.onnx.export of the published form; ONNX Runtime's float file."""
    _write_onnx(network.published(), network, path)


def onnx_mobile(network: CalibratedNetwork, path: Path) -> None:
    """torch.onnx.export of the mobile form."""
    _write_onnx(network.mobile(), network, path)


def _write_onnx(module: nn.Module, network: CalibratedNetwork, path: Path) -> None:
    torch.onnx.export(
        module,
        network.sample(),
        str(path),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )


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
    return Path(os.environ.get(ONNX2TF_ENV, Path(__file__).parents[2] / ".venv-onnx2tf"))


def onnx2tf_folder(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """A folder with onnx2tf's float, dynamic-range and full-integer files (option -oiqt).

    Raises `UserError` where the environment is absent or onnx2tf fails.
    """
    programs = (onnx2tf_environment() / "bin").absolute()
    if not (programs / "onnx2tf").exists():
        raise UserError(f"no onnx2tf in {programs.parent}; run 'make bench-setup'")
    path.mkdir()
    (path / "model.onnx").write_bytes(source.read_bytes())
    # onnx2tf normalizes by itself. Given by -cind instead, the images also go into its check of
    # axis orders, which then picks wrong ones.
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (network.mean, network.std))
    pixels = np.moveaxis((network.images * std + mean).clip(0, 1), 1, -1)
    np.save(path / ONNX2TF_IMAGES, np.ascontiguousarray(pixels))
    command = ["onnx2tf", "-v", "error", "-i", "model.onnx", "-o", "out", "-oiqt"]
    for option, values in (("-qnm", network.mean), ("-qns", network.std)):
        command += [option, f"[[[[{','.join(map(str, values))}]]]]"]
    # It starts onnxsim by name, and converts wrongly without it.
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    command[0] = str(programs / command[0])
    try:
        done = subprocess.run(
            command,
            cwd=path,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ONNX2TF_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"onnx2tf took longer than {ONNX2TF_SECONDS} s") from None
    # It goes on after a failed precision, so that the float file may be all there is.
    if not (path / "out" / ONNX2TF_FILES["float32"]).exists():
        raise UserError(f"onnx2tf: {last_error(done.stdout + done.stderr)}")
    for name in ONNX2TF_FILES.values():
        if (path / "out" / name).exists():
            os.replace(path / "out" / name, path / name)
    shutil.rmtree(path / "out")
    for name in ("model.onnx", ONNX2TF_IMAGES):
        (path / name).unlink()


def last_error(output: str) -> str:
    """The line that says most in a failed program's output: the last one that names an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "Error:" in line]
    return (errors or lines or ["no output"])[-1][:300]


def onnx2tf_file(precision: str, network: CalibratedNetwork, path: Path, folder: Path) -> None:
    """One precision out of `onnx2tf_folder`'s folder; `UserError` where onnx2tf didn't write it."""
    del network
    source = folder / ONNX2TF_FILES[precision]
    if not source.exists():
        raise UserError(f"onnx2tf wrote no {source.name}")
    os.link(source, path)
