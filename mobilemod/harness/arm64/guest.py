"""Runs in the guest: one model file, its logits, and marks around counted inferences.

Called as `guest.py MODEL INPUT.npy LOGITS.npy REPEATS`; imports nothing of mobilemod, which the
guest doesn't have. Prints what ran the file.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from importlib import metadata

import numpy as np

# icount.c: a system call that doesn't exist; 1 sets the counts to zero, 2 writes them.
MARK = 0x6D6F6264


# (set the input float32 (1, 3, S, S), invoke, read the logits (K,), what runs the file)
Loaded = tuple[Callable[[np.ndarray], None], Callable[[], object], Callable[[], np.ndarray], str]


def load_tflite(path: str) -> Loaded:
    """A `.tflite` file in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    (target,) = interpreter.get_output_details()
    channels_last = source["shape"][-1] == 3

    def set_input(x: np.ndarray) -> None:
        x = x.transpose(0, 2, 3, 1) if channels_last else x
        interpreter.set_tensor(source["index"], np.ascontiguousarray(x))

    def logits() -> np.ndarray:
        return interpreter.get_tensor(target["index"]).reshape(-1).astype(np.float32)

    version = f"LiteRT {metadata.version('ai-edge-litert')}, XNNPACK, 1 thread"
    return set_input, interpreter.invoke, logits, version


def load_pte(path: str) -> Loaded:
    """A `.pte` file in ExecuTorch."""
    import torch

    # Not by the package, whose modules take half a minute to import here.
    from executorch.extension.pybindings import _portable_lib

    torch.set_num_threads(1)
    _portable_lib._unsafe_reset_threadpool(1)
    program = _portable_lib._load_for_executorch(path)
    given, result = [], []

    def set_input(x: np.ndarray) -> None:
        given[:] = [(torch.from_numpy(np.ascontiguousarray(x)),)]

    def invoke() -> None:
        result[:] = program.forward(given[0])

    def logits() -> np.ndarray:
        return result[0].numpy().reshape(-1).copy()

    version = f"ExecuTorch {metadata.version('executorch')}, XNNPACK delegate"
    return set_input, invoke, logits, version


def main(model: str, given: str, out: str, repeats: str) -> None:
    x = np.load(given)
    set_input, invoke, logits, description = (load_pte if model.endswith(".pte") else load_tflite)(
        model
    )
    syscall = ctypes.CDLL(None).syscall
    syscall.argtypes = (ctypes.c_long, ctypes.c_long)
    gc.disable()
    found = []
    # The first image last, and then again: one loop, as a line of Python costs more at first.
    for n, image in enumerate([*x[::-1], *[x[0]] * int(repeats)]):
        set_input(image[None])
        begin, end = (1, 2) if n >= len(x) else (0, 0)
        syscall(MARK, begin)
        invoke()
        syscall(MARK, end)
        found.append(logits())
    np.save(out, np.stack(found[len(x) - 1 :: -1]))
    # What the marks themselves cost.
    syscall(MARK, 1)
    syscall(MARK, 2)
    print(description)


if __name__ == "__main__":
    main(*sys.argv[1:])
