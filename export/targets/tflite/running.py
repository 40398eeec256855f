"""LiteRT with its default XNNPACK delegate as what runs a `.tflite` here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.quiet import quiet
from export.targets.base import Runner
from export.targets.tflite.reader import read_model
from mobilemod.errors import UserError
from mobilemod.targets.facts import MAPS

# By the harness's names of what a file runs on.
XNNPACK = "xnnpack"
RESOLVERS = {
    XNNPACK: OpResolverType.AUTO,
    "cpu": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}
CODES = ("int8", "uint8")


@dataclass(frozen=True)
class Edge:
    """A file's input or output. dtype: as NumPy calls it; scale, zero_point: of codes."""

    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> Edge:
        """From what the interpreter tells of a tensor."""
        scale, zero_point = detail["quantization"]
        shape = tuple(int(d) for d in detail["shape"])
        return cls(shape, np.dtype(detail["dtype"]).name, float(scale), int(zero_point))

    @property
    def known(self) -> bool:
        """Whether real numbers can be told from it."""
        return self.dtype == "float32" or (self.dtype in CODES and self.scale > 0)

    @property
    def classes(self) -> bool:
        """Whether it is a map of classes, (1, h, w)."""
        return self.dtype == "uint8" and self.scale == 0 and len(self.shape) == 3

    def taken(self, x: np.ndarray) -> np.ndarray:
        """float32 (1, 3, H, W) in the file's layout and numbers."""
        x = np.asarray(x, np.float32)
        if self.shape[-1] == 3:
            x = x.transpose(0, 2, 3, 1)
        if self.dtype in CODES:
            limits = np.iinfo(self.dtype)
            x = np.rint(x / np.float32(self.scale)) + self.zero_point
            x = x.clip(limits.min, limits.max)
        return np.ascontiguousarray(x, self.dtype)

    def given(self, y: np.ndarray) -> np.ndarray:
        """float32 (K,), or (K, h, w) of maps, which files hold channels last, of what one gives; a
        map of classes as it is, (h, w)."""
        if self.classes:
            return y[0].copy()
        maps = y.ndim == MAPS and y[0, ..., 0].size > 1
        y = np.moveaxis(y[0], -1, 0) if maps else y.reshape(-1)
        y = np.ascontiguousarray(y, np.float32)
        return (y - self.zero_point) * np.float32(self.scale) if self.dtype in CODES else y


def check_edges(path: Path, inputs: list[Edge], outputs: list[Edge]) -> tuple[Edge, Edge]:
    """The one input and output; `UserError` where there are others."""
    one = len(inputs) == len(outputs) == 1
    if not (one and inputs[0].known and (outputs[0].known or outputs[0].classes)):
        raise UserError(f"{path}: not a network with one image and one output, float32 or int8")
    return inputs[0], outputs[0]


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file; takes float32 (1, 3, H, W) whatever the file's own layout and
    numbers are."""
    interpreter = open_interpreter(path, threads)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    image, answer = check_edges(path, [*map(Edge.of, inputs)], [*map(Edge.of, outputs)])
    source, target = inputs[0]["index"], outputs[0]["index"]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, image.taken(x))
        try:
            interpreter.invoke()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: the TFLite runtime fails: {reason}") from None
        return answer.given(interpreter.get_tensor(target))

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
