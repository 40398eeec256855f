"""Sub-programs of a `.tflite`: a few of its ops as a model of their own, for timing them alone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.graph import FileGraph
from export.quiet import quiet
from export.targets.base import SubProgram
from export.targets.tflite.edit import TfliteModel
from export.targets.tflite.graph import read_graph
from mobilemod.errors import UserError


def _refuse(path: Path, graph: FileGraph, subgraphs: int) -> None:
    """`UserError` for what doesn't come apart into ops that run alone."""
    why = None
    if graph.partitions is None:
        why = "; ".join(graph.notes)
    elif subgraphs > 1:
        why = f"it has {subgraphs} subgraphs: several methods, branches or loops"
    elif any(t.dtype in ("resource", "variant", "string") for t in graph.tensors.values()):
        why = "it has ops that keep a state or read text"
    if why:
        raise UserError(f"{path}: not supported: no profile, since {why}")


def open_cutter(path: Path, threads: int = 1) -> TfliteCutter:
    """The cutter of a file; `UserError` for one that doesn't come apart."""
    return TfliteCutter(path, threads)


class TfliteCutter:
    """Cuts a file; nodes are numbered as in `graph.nodes`."""

    def __init__(self, path: Path, threads: int):
        self.graph: FileGraph = read_graph(path)
        self.weights: dict[str, str] = {}  # its tensors have names of their own
        self.content = path.read_bytes()
        self.whole = TfliteModel(self.content)
        _refuse(path, self.graph, len(self.whole.model.subgraphs))
        self.threads = threads

    def signature(self, nodes: tuple[int, ...]) -> str:
        """Equal for sub-programs that cost the same: ops, options, shapes and formats."""
        parts: list[object] = []
        for i in nodes:
            op = self.whole.graph.operators[i]
            options = op.builtinOptions
            parts += [self.whole.op_name(op), sorted(vars(options).items()) if options else ()]
            for index in (int(t) for t in (*op.inputs, *op.outputs) if t >= 0):
                tensor = self.whole.graph.tensors[index]
                shape = () if tensor.shape is None else tuple(int(d) for d in tensor.shape)
                parts.append((tensor.type, shape, self.whole.is_constant(index)))
        return str(parts)

    def program(self, nodes: Collection[int]) -> SubProgram:
        """The nodes as a loaded model with random inputs."""
        return self._load(_cut(TfliteModel(self.content), set(nodes)))

    def whole_program(self) -> SubProgram:
        """The whole file, loaded in the same way."""
        return self._load(self.content)

    def _load(self, content: bytes) -> SubProgram:
        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=self.threads)
            interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        inputs = []
        for detail in interpreter.get_input_details():
            shape, dtype = tuple(detail["shape"]), detail["dtype"]
            if np.issubdtype(dtype, np.floating):
                value = rng.standard_normal(shape).astype(dtype)
            else:
                value = rng.integers(0, 127, shape).astype(dtype)
            interpreter.set_tensor(detail["index"], value)
            inputs.append(value)
        results = [detail["index"] for detail in interpreter.get_output_details()]
        return SubProgram(
            interpreter.invoke,
            tuple(inputs),
            lambda: tuple(interpreter.get_tensor(i) for i in results),
        )


def _cut(whole: TfliteModel, kept: set[int]) -> bytes:
    """The model of the operators `kept`; changes `whole`."""
    graph = whole.graph
    operators = [op for i, op in enumerate(graph.operators) if i in kept]
    elsewhere = {
        int(t) for i, op in enumerate(graph.operators) if i not in kept for t in op.inputs
    } | {int(t) for t in graph.outputs}
    made = {int(t) for op in operators for t in op.outputs}
    read = {int(t) for op in operators for t in op.inputs if t >= 0}
    inputs = sorted(t for t in read - made if not whole.is_constant(t))
    outputs = sorted(t for t in made if t in elsewhere or t not in read)
    order = sorted(made | read)
    place = {old: new for new, old in enumerate(order)}
    buffers = [schema.BufferT()]
    tensors = []
    for index in order:
        tensor = graph.tensors[index]
        constant = whole.model.buffers[tensor.buffer] if whole.is_constant(index) else None
        tensor.buffer = 0 if constant is None else len(buffers)
        if constant is not None:
            buffers.append(constant)
        tensors.append(tensor)
    for op in operators:
        op.inputs = [place.get(int(t), -1) for t in op.inputs]
        op.outputs = [place[int(t)] for t in op.outputs]
    graph.operators, graph.tensors = operators, tensors
    graph.inputs, graph.outputs = [place[t] for t in inputs], [place[t] for t in outputs]
    whole.model.buffers = buffers
    whole.model.metadata = whole.model.signatureDefs = None
    return whole.pack()
