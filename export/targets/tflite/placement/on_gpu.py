"""Runs a `.tflite` file on LiteRT's GPU path: a program, as drivers may crash or hang.

    python -m export.targets.tflite.placement.on_gpu JOB

JOB is JSON: `model`; `images`, a NumPy file of float32 (N, 3, H, W); `outputs`, where float32
(N, K), of maps (N, K, h, w), or maps of classes, uint8 (N, h, w), go; `loader`, Vulkan's library or
null; `cpu`, whether the processor may take ops over.
Writes a byte to stdout once an image is done. What LiteRT says of the adapter and of the ops that
it doesn't take is on stderr alone. Ends with `REFUSED` where it doesn't load the file so.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

import numpy as np

REFUSED = 3
MAPS = 3  # dimensions of an image's
TICK = b"."


def run(model: str, images: str, outputs: str, loader: str | None, cpu: bool) -> int:
    """Do the job; the exit code."""
    if loader is not None:
        # The runtime asks for it by name alone, which finds what is loaded already.
        ctypes.CDLL(loader)
    from ai_edge_litert.compiled_model import CompiledModel, HardwareAccelerator

    ticks = os.dup(1)
    os.dup2(2, 1)
    units = HardwareAccelerator.GPU
    try:
        compiled = CompiledModel.from_file(
            model, hardware_accel=units | HardwareAccelerator.CPU if cpu else units
        )
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return REFUSED
    name = next(iter(compiled.get_signature_list()))
    (source,) = compiled.get_input_tensor_details(name).values()
    (target,) = compiled.get_output_tensor_details(name).values()
    given, made = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
    x = np.load(images)
    if source["shape"][-1] == x.shape[1]:
        x = x.transpose(0, 2, 3, 1)
    found = []
    for image in x:
        given[0].write(np.ascontiguousarray(image).reshape(-1))
        compiled.run_by_index(0, given, made)
        y = made[0].read(int(np.prod(target["shape"])), np.dtype(target["dtype"]))
        found.append(_of_one(y.reshape(target["shape"])[0]))
        os.write(ticks, TICK)
    np.save(outputs, np.stack(found))
    return 0


def _of_one(y: np.ndarray) -> np.ndarray:
    """An image's output with the classes first; numbers may come in as many dimensions as maps."""
    if y.ndim == MAPS and y[..., 0].size > 1:
        return np.moveaxis(y, -1, 0)
    return y if y.dtype == np.uint8 else y.ravel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    # Not by way of Python's end: unloading a driver may crash, and all is written.
    code = run(**json.loads(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)
