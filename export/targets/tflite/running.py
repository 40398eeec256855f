"""LiteRT with its default XNNPACK delegate as what runs a `.tflite` here."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.quiet import quiet
from export.targets.base import Runner
from export.targets.tflite.reader import read_model
from mobilemod.errors import UserError

# By the harness's names of what a file runs on.
XNNPACK = "xnnpack"
RESOLVERS = {
    XNNPACK: OpResolverType.AUTO,
    "cpu": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file; takes float32 (1, 3, H, W) whatever the file's own layout is."""
    interpreter = open_interpreter(path, threads)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0]["dtype"] != np.float32:
        raise UserError(f"{path}: not an image classifier with one float32 input and one output")
    source, target = inputs[0]["index"], outputs[0]["index"]
    shape = tuple(int(d) for d in inputs[0]["shape"])
    channels_last = shape[-1] == 3

    def run(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float32)
        if channels_last:
            x = x.transpose(0, 2, 3, 1)
        interpreter.set_tensor(source, np.ascontiguousarray(x))
        try:
            interpreter.invoke()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: the TFLite runtime fails: {reason}") from None
        return interpreter.get_tensor(target).reshape(-1).astype(np.float32)

    version = metadata.version("ai-edge-litert")
    return Runner(f"LiteRT {version}, XNNPACK, {threads} thread{'s'[: threads != 1]}", run)


def open_interpreter(
    path: Path, threads: int, changed: bytes | None = None, unit: str = XNNPACK
) -> Interpreter:
    """An interpreter, ready to run. unit: with the default XNNPACK delegate, else without any.

    changed: what was made of the file, to be run in its place.
    """
    if changed is None:
        read_model(path)
    source = {"model_content": changed} if changed else {"model_path": str(path)}
    try:
        with quiet():
            interpreter = Interpreter(
                **source, num_threads=threads, experimental_op_resolver_type=RESOLVERS[unit]
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: the TFLite runtime refuses the file: {reason}") from None
    return interpreter
