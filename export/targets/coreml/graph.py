"""A Core ML package's graph, from its protobuf alone: ops, tensors, number formats, work."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from export.graph import FileGraph, FileNode, FileTensor, fill_of
from export.targets import isolated
from export.targets.coreml.reader import WEIGHTS_FOLDER, blocks, model_path, operations, read_spec
from export.targets.coreml.shapes import default_shapes, infer_shapes, prepare_to_infer
from export.targets.coreml.toolkit import known_ops
from export.targets.coreml.values import Values, bindings, names, tensor_type
from export.targets.coreml.work import is_data, operands, work
from mobilemod.targets.coreml import FACTS

CONTROL = ("cond", "while_loop")
# Constants are values, not work: they become tensors of the graph. What a stored weight is
# called: its codes' type, "sparse" and "palette" where zeros or few values are stored.
CONSTEXPR = "constexpr_"
MOST_SCALES = 4_000_000  # of all tensors: a file can point at the same ones from everywhere


def read_graph(path: Path) -> FileGraph:
    """The package's graph, from the file alone.

    A compressed weight appears as the constant input of its convolution, in the type that it is
    stored in; where Core ML places the ops (Neural Engine, GPU, CPU) is decided on the device:
    partitions are None.
    """
    spec = read_spec(path)
    folder = model_path(path).parent / WEIGHTS_FOLDER.name
    given, notes = default_shapes(spec)
    shapes = dict(given)
    if given:
        prepare_to_infer()
        try:
            shapes |= isolated.call(infer_shapes, spec, given, str(folder))
        except isolated.IsolatedError as error:
            notes.append(f"shapes that follow from it are unknown: {error}")
    functions = sorted(spec.mlProgram.functions.items(), key=lambda f: f[0])
    reading = _Reading(Values(folder), shapes)
    inputs: list[str] = []
    outputs: list[str] = []
    for name, function in functions:
        reading.start(name if len(functions) > 1 else "", name)
        inputs += [reading.add(v.name, v.type) for v in function.inputs]
        for block in blocks(function):
            for op in operations(block):
                reading.read(op)
            outputs += [reading.prefix + out for out in block.outputs]
    if any(n.op in CONTROL for n in reading.nodes):
        notes.append("branches and loops: the work is of each branch and one turn of a loop")
    return FileGraph(
        FACTS.name, reading.tensors, tuple(reading.nodes), tuple(inputs), tuple(outputs),
        notes=tuple(notes),
    )  # fmt: skip


def _fill(value: Any) -> float | None:
    return fill_of(value) if isinstance(value, np.ndarray) else None


class _Reading:
    """Tensors and nodes as they are found, one function after the other."""

    def __init__(self, values: Values, shapes: dict[tuple[str, str], tuple[int, ...]]):
        self.values, self.shapes = values, shapes
        self.tensors: dict[str, FileTensor] = {}
        self.nodes: list[FileNode] = []
        self.known = known_ops()
        self.scales_left = MOST_SCALES

    def start(self, method: str, function: str) -> None:
        self.method, self.function = method, function
        self.prefix = f"{method}/" if method else ""
        self.values.named = {}

    def add(self, name: str, value_type: Any, **changes: Any) -> str:
        """Add a tensor; its name in the graph."""
        shape, dtype = tensor_type(value_type)
        fields = {"shape": self.shapes.get((self.function, name), shape), "dtype": dtype}
        full = self.prefix + name
        self.tensors[full] = FileTensor(full, **(fields | changes))
        return full

    def read(self, op: Any) -> None:
        if op.type == "const":
            for out in op.outputs:
                self.values.named[out.name] = op.attributes["val"]
                fill = _fill(self.values.read(op.attributes["val"]))
                self.add(out.name, out.type, constant=True, fill=fill)
            return
        if op.type.startswith(CONSTEXPR):
            self._add_constexpr(op)
            return
        inputs: list[str] = []
        shapes: dict[str, tuple[int, ...]] = {}
        for argument in operands(op):
            given = [self.prefix + n for n in names(op, argument)]
            given = [n for n in given if n in self.tensors]
            for i, n in enumerate(given):
                shapes[f"{argument}.{i}" if len(given) > 1 else argument] = self.tensors[n].shape
                if not self.tensors[n].constant or is_data(op, argument):
                    inputs.append(n)
        for out in op.outputs:
            changes = {}
            if op.type == "quantize":
                dtype = self.values.argument(op, "output_dtype")
                changes = self._quantization(op) | ({"dtype": dtype} if dtype else {})
            self.add(out.name, out.type, **changes)
        outputs = tuple(self.prefix + out.name for out in op.outputs)
        out = self.tensors[outputs[0]].shape if outputs else ()
        name, macs = work(op, shapes, out, self.values)
        known = macs is not None and op.type in self.known and op.type != "while_loop"
        node = FileNode(name, tuple(inputs), outputs, macs or 0, None, known, self.method)
        self.nodes.append(node)

    def _quantization(self, op: Any) -> dict[str, Any]:
        """Scale, zero point and axis of a quantize or of a weight that was quantized like it."""
        scale = self.values.argument(op, "scale")
        if not isinstance(scale, np.ndarray) or not scale.size:
            return {}
        scale = np.atleast_1d(scale.astype(np.float64))
        zero = self.values.argument(op, "zero_point")
        zero = self.values.argument(op, "offset") if zero is None else zero
        zeros = np.zeros(scale.size, np.int64)
        if isinstance(zero, np.ndarray) and zero.size in (1, scale.size):
            zeros = np.broadcast_to(zero.astype(np.int64).reshape(-1), scale.size)
        per_channel = "axis" in op.inputs or "axis" in op.attributes
        axis = self.values.number(op, "axis", 0) if per_channel and scale.size > 1 else None
        wide = [i for i, n in enumerate(scale.shape) if n > 1]
        if scale.ndim > 1:  # a scale per block of every axis: per channel where one axis has them
            axis = wide[0] if len(wide) == 1 else None
        self.scales_left -= scale.size
        if len(wide) > 1 or self.scales_left < 0:
            return {}
        flat = tuple(scale.reshape(-1).tolist())
        return {"scale": flat, "zero_point": tuple(zeros.tolist()), "axis": axis}

    def _add_constexpr(self, op: Any) -> None:
        dtype = self._stored(op)
        for out in op.outputs:
            changes = self._quantization(op) if "scale" in {*op.inputs, *op.attributes} else {}
            fill = _fill(self.values.argument(op, "quantized_data")) if changes else None
            self.add(out.name, out.type, dtype=dtype, constant=True, fill=fill, **changes)

    def _stored(self, op: Any) -> str:
        """What a compressed weight is stored as."""
        kind = op.type.removeprefix(CONSTEXPR)
        sources = (
            "quantized_data",
            "data",
            "nonzero_data",
            "source_val",
            "indices_nonzero_data",
            "indices",
        )
        dtype = next((d for s in sources if (d := self._dtype_of(op, s))), "unknown")
        if "lut" in kind and "lut" in op.attributes:  # iOS 16: indices are packed into bytes
            entries = math.prod(tensor_type(op.attributes["lut"].type)[0])
            dtype = f"{max(entries - 1, 1).bit_length()}-bit palette"
        elif "lut" in kind:
            dtype = f"{dtype.removeprefix('uint')}-bit palette"
        return f"sparse {dtype}" if "sparse" in kind and "sparse" not in dtype else dtype

    def _dtype_of(self, op: Any, argument: str) -> str | None:
        if argument in op.attributes:
            return tensor_type(op.attributes[argument].type)[1]
        for binding in bindings(op, argument):
            if binding.WhichOneof("binding") == "value":
                return tensor_type(binding.value.type)[1]
            tensor = self.tensors.get(self.prefix + binding.name)
            return tensor.dtype if tensor else None
        return None
