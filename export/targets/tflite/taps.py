"""The tensors of a `.tflite`, read and replaced while LiteRT runs it.

The interpreter keeps only what lies outside the delegate, so the file is changed: a tensor to read
becomes an output of the graph, a tensor to replace a second input that all its readers take.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.targets.tflite.edit import TfliteModel
from export.targets.tflite.graph import read_graph
from export.targets.tflite.running import XNNPACK, open_interpreter

CONSTANTS = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.FLOAT32: np.float32,
}


def open_taps(path: Path, unit: str | None = None) -> TfliteTaps:
    """The taps of a file, run with XNNPACK or by LiteRT's own kernels ("cpu"); `UserError` where it
    is damaged."""
    return TfliteTaps(path, unit or XNNPACK)


class TfliteTaps:
    """An opened `.tflite`; tensors are named as in `graph`."""

    as_is = False

    def __init__(self, path: Path, unit: str):
        self.path, self.unit = path, unit
        self.graph = read_graph(path)
        self.content = path.read_bytes()
        self.model = TfliteModel(self.content)
        self.place = {name: i for i, name in enumerate(self.graph.tensors)}
        by = "XNNPACK" if unit == XNNPACK else "built-in kernels"
        self.description = f"LiteRT {metadata.version('ai-edge-litert')}, {by}"
        self.loaded: dict[tuple, tuple[Interpreter, dict[str, int]]] = {}

    def run(
        self, x: np.ndarray, wanted: Collection[str], given: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """As `Taps.run`."""
        given = given or {}
        key = (tuple(sorted(wanted)), tuple(sorted(given)))
        if key not in self.loaded:
            self.loaded[key] = self._load(wanted, given)
        interpreter, inputs = self.loaded[key]
        (image,) = self.graph.inputs
        values = {image: x.transpose(0, 2, 3, 1), **given}
        for name, index in inputs.items():
            interpreter.set_tensor(index, np.ascontiguousarray(values[name]))
        interpreter.invoke()
        found = {n: interpreter.get_tensor(self.place[n]) for n in wanted if n != image}
        return found | ({image: values[image]} if image in wanted else {})

    def _load(
        self, wanted: Collection[str], given: Collection[str]
    ) -> tuple[Interpreter, dict[str, int]]:
        """The changed model, loaded, and its inputs: tensor -> index."""
        changed = TfliteModel(self.content)
        graph = changed.graph
        inputs = {self.graph.inputs[0]: int(graph.inputs[0])}
        for name in given:
            twin = copy.copy(graph.tensors[self.place[name]])
            twin.name = f"{name} (given)"
            graph.tensors.append(twin)
            inputs[name] = len(graph.tensors) - 1
            for op in graph.operators:
                op.inputs = [inputs[name] if i == self.place[name] else i for i in op.inputs]
        graph.inputs = list(inputs.values())
        shown = {self.place[name] for name in wanted if name not in self.graph.inputs}
        graph.outputs = [*graph.outputs, *sorted(shown - {int(i) for i in graph.outputs})]
        changed.model.signatureDefs = None
        return open_interpreter(self.path, 1, changed.pack(), self.unit), inputs

    def constant(self, name: str) -> np.ndarray | None:
        """A stored tensor's values, codes or float32; None for any other."""
        tensor = self.model.graph.tensors[self.place[name]]
        data = self.model.model.buffers[tensor.buffer].data
        if data is None or tensor.type not in CONSTANTS:
            return None
        values = np.frombuffer(data.tobytes(), CONSTANTS[tensor.type])
        return values.reshape(self.graph.tensors[name].shape)

    def settings(self, output: str) -> dict[str, float | str]:
        """What the op that makes `output` is set to beside its tensors: GELU's kind."""
        for op in self.model.graph.operators:
            if self.place[output] in (int(i) for i in op.outputs):
                options = op.builtinOptions
                if self.model.op_name(op) == "GELU" and options is not None:
                    return {"GELU": "tanh approximation" if options.approximate else "exact"}
        return {}
