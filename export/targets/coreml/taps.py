"""The tensors of an `.mlpackage`, read and replaced while the MIL evaluator runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.graph import FileGraph
from export.targets.coreml.evaluator import Step, compile_program, half
from export.targets.coreml.graph import read_graph
from export.targets.coreml.reader import (
    Package,
    attribute,
    constant,
    open_package,
    scale_and_zero,
)
from export.targets.coreml.running import EVALUATOR, pixels_of


def open_taps(path: Path, unit: str | None = None) -> CoremlTaps:
    """The taps of a package; `UserError` where it is damaged."""
    package = open_package(path)
    return CoremlTaps(read_graph(path), package, lambda x: pixels_of(x, package.preprocess))


class CoremlTaps:
    """An opened ML program; tensors are named as in `graph`, float16 ones are held in float32.

    given: normalized images, float32 (N, 3, H, W), as the program takes them.
    """

    as_is = True

    def __init__(
        self, graph: FileGraph, package: Package, given: Callable[[np.ndarray], np.ndarray]
    ):
        self.graph, self.package, self.given = graph, package, given
        self.program = compile_program(self.package)
        self.makers = {v.name: op for op in self.package.operations for v in op.outputs}
        version = metadata.version("coremltools")
        self.description = f"{EVALUATOR}, coremltools {version}"

    def run(
        self, x: np.ndarray, wanted: Collection[str], given: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """As `Taps.run`."""
        given = given or {}
        taken = self.given(x)
        found = {name: taken for name in wanted if name in self.graph.inputs}

        def visit(step: Step, name: str, inputs: list[Tensor], y: Tensor) -> Tensor:
            tensor = self.graph.tensors[name]
            if name in wanted:
                values = y.numpy().reshape(tensor.shape)
                found[name] = values.astype(np.int8) if tensor.scale else values
            if name not in given:
                return y
            values = torch.from_numpy(np.float32(given[name])).reshape(y.shape)
            return half(values) if tensor.dtype == "float16" else values

        outputs = self.program.run(torch.from_numpy(taken), visit)
        return found | ({self.program.output: outputs.numpy()})

    def constant(self, name: str) -> np.ndarray | None:
        """A stored tensor's values, int8 codes or float16; None for any other."""
        op = self.makers.get(name)
        if op is None:
            return None
        if op.op_type == "constexpr_affine_dequantize":
            return np.asarray(op.inputs["quantized_data"].val)
        return constant(op.outputs[0])

    def settings(self, output: str) -> dict[str, float | str]:
        """What the op that makes `output` is set to beside its tensors: GELU's kind, a norm's eps,
        the scale that codes are expanded by."""
        op = self.makers[output]
        if op.op_type == "gelu":
            kinds = {"EXACT": "exact", "TANH_APPROXIMATION": "tanh approximation"}
            mode = str(attribute(op, "mode", "EXACT"))
            return {"GELU": kinds.get(mode, "sigmoid approximation")}
        if op.op_type == "layer_norm":
            return {"eps": float(op.inputs["epsilon"].val)}
        if op.op_type == "dequantize":
            return dict(zip(("scale", "zero point"), scale_and_zero(op), strict=True))
        return {}
