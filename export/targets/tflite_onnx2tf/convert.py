"""A network as ONNX, and all the files that onnx2tf makes of that."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import torch
from torch import nn

from export.targets.environment import last_error, outside_of_ours, programs_in
from mobilemod.errors import UserError
from mobilemod.targets.tflite_onnx2tf import FACTS

INPUT, OUTPUT = "image", "logits"
# From 20 on ONNX has Gelu as one op. Before, it is spelled out with Erf: onnx2tf's file then asks
# for TensorFlow's own Erf, which LiteRT lacks, and ONNX Runtime is slower.
OPSET = 20
SECONDS = 1800
MODEL = "model"
# The name under which onnx2tf looks for calibration images before it tries to download some.
IMAGES = "calibration_image_sample_data_20x128x128x3_float32.npy"
# What it says when it has written the last of `FILES`; it would go on with 16-bit activations, and
# observe ranges twice more for them.
ALL_MADE = "Full INT8 Quantization tflite output complete!"
FILES = {
    "float32": f"{MODEL}_float32.tflite",
    "float16": f"{MODEL}_float16.tflite",
    "int8": f"{MODEL}_full_integer_quant.tflite",
    "dynamic": f"{MODEL}_dynamic_range_quant.tflite",
}


def write_onnx(module: nn.Module, sample: tuple[torch.Tensor], path: Path) -> None:
    """torch.onnx.export of a network of one image and one output."""
    torch.onnx.export(
        module,
        sample,
        str(path),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        external_data=False,
        verbose=False,
    )


def convert(
    onnx: Path, path: Path, pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    """Make the folder `path` with those of `FILES` that onnx2tf writes of an ONNX file.

    pixels: the images that it calibrates on, float32 (N, H, W, 3) from 0 to 1; mean, std: how the
    network wants them normalized. Raises `UserError` where the environment is missing or onnx2tf
    fails.
    """
    programs = programs_in(FACTS.environment)
    path.mkdir()
    shutil.copyfile(onnx, path / f"{MODEL}.onnx")
    # onnx2tf normalizes by itself. Given by -cind instead, the images also go into its check of
    # axis orders, which then picks wrong ones.
    np.save(path / IMAGES, np.ascontiguousarray(pixels, np.float32))
    command = [programs / "onnx2tf", "-v", "info", "-i", f"{MODEL}.onnx", "-o", "out", "-oiqt"]
    for option, values in (("-qnm", mean), ("-qns", std)):
        command += [option, f"[[[[{','.join(map(str, values))}]]]]"]
    said = _run([*map(str, command)], path, programs)
    # It goes on after a failed precision, so that the float file may be all there is.
    if not (path / "out" / FILES["float32"]).exists():
        raise UserError(f"onnx2tf: {last_error(said)}")
    for name in FILES.values():
        if (path / "out" / name).exists():
            os.replace(path / "out" / name, path / name)
    shutil.rmtree(path / "out")
    for name in (f"{MODEL}.onnx", IMAGES):
        (path / name).unlink()


def _run(command: list[str], path: Path, programs: Path) -> str:
    """What onnx2tf says in the folder `path`, until all of `FILES` are there or it ends."""
    # It starts onnxsim by name, and converts wrongly without it.
    environment = {**outside_of_ours(programs), "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        ends = threading.Timer(SECONDS, process.kill)
        ends.start()
        try:
            for line in process.stdout:
                lines.append(line)
                if ALL_MADE in line:
                    return "".join(lines)
        finally:
            late = not ends.is_alive()
            ends.cancel()
            process.kill()
    if late:
        raise UserError(f"onnx2tf took longer than {SECONDS} s")
    return "".join(lines)


def made_file(folder: Path, precision: str) -> Path:
    """One file of those; `UserError` where onnx2tf didn't write it."""
    found = folder / FILES[precision]
    if not found.exists():
        raise UserError(f"onnx2tf wrote no {found.name}")
    return found
