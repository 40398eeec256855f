"""The graph of a `.pte` with Vulkan's delegate: its ops in the partitions that call them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export import graph as ops
from export.graph import FileGraph, FileNode, FileTensor, fill_of
from export.targets.executorch.reader import read_pte
from export.targets.executorch_vulkan.reader import BACKEND, VulkanGraph, read_vulkan
from export.targets.flatbuffer import DamagedError, at
from mobilemod.errors import UserError
from mobilemod.targets.executorch_vulkan import FACTS

DTYPES = {f"{kind}{bits}": f"{kind.lower()}{bits}" for kind, bits in (
    ("UINT", 8), ("INT", 8), ("INT", 32), ("INT", 64), ("FLOAT", 16), ("FLOAT", 32), ("FLOAT", 64)
)}  # fmt: skip
NAMES = {
    "quantize_per_tensor": ops.QUANTIZE,
    "dequantize_per_tensor": ops.DEQUANTIZE,
    "permute_copy": ops.TRANSPOSE,
    "view_copy": ops.RESHAPE,
    "cat": ops.CONCAT,
    **dict.fromkeys(("bmm", "mm"), ops.MATMUL),
    "linear": ops.LINEAR,
    "_softmax": "softmax",
}
# Constants are handed to the GPU first; what computes reads the copies.
COPY = "prepack"
# Arguments of the delegate's int8 ops; those of convolutions go on with the kernel and the rest.
WEIGHT, WEIGHT_SCALES, OUT_SCALE, BIAS, KERNEL, GROUPS = 3, 5, 6, 8, 9, 13
WEIGHTED = ("q8ta_conv2d", "q8ta_linear")
# The only GELU that the delegate has, whatever the network asks for.
TANH = "its GELUs are the tanh approximation, up to 5e-4 off the exact one"


def read_graph(path: Path) -> FileGraph:
    """The file's graph; `UserError` where it is damaged or no part of it is Vulkan's."""
    file = read_pte(path)
    found = {name for name, _ in file.opaque.values()}
    if found != {BACKEND}:
        names = ", ".join(sorted(found)) or "none that isn't XNNPACK"
        raise UserError(f"{path}: not supported: expected the delegate {BACKEND}, found {names}")
    outer, tensors, nodes = file.graph, dict(file.graph.tensors), []
    notes = list(outer.notes)
    try:
        for node in outer.nodes:
            if node.partition not in file.opaque:
                nodes.append(node)
                continue
            graph = read_vulkan(file.opaque[node.partition][1], file.named)
            reading = _Reading(graph, node, tensors)
            nodes += reading.nodes()
            notes += [TANH] if reading.exact_gelu and TANH not in notes else []
    except DamagedError as error:
        raise UserError(f"{path}: damaged or cut off ({error}); export it again") from None
    return replace(
        outer,
        target=FACTS.name,
        tensors=tensors,
        nodes=tuple(nodes),
        opaque={},
        notes=tuple(notes),
    )


class _Reading:
    """One partition while it is read: its tensors go to `tensors`, by the names of the tensors that
    it is called with."""

    def __init__(self, graph: VulkanGraph, call: FileNode, tensors: dict[str, FileTensor]):
        self.graph, self.tensors, self.partition = graph, tensors, call.partition
        self.exact_gelu = False
        edges = (*graph.inputs, *graph.outputs)
        if len(edges) != len(call.inputs):
            raise DamagedError(f"Vulkan is called with {len(call.inputs)} of {len(edges)} tensors")
        self.names = dict(zip(edges, call.inputs, strict=True))

    def nodes(self) -> list[FileNode]:
        """The partition's ops, in order."""
        found = []
        for name, args in self.graph.calls:
            kind = name.removesuffix(".default").split(".")
            kind = kind[1] if len(kind) > 1 else kind[0]
            if not args:
                raise DamagedError(f"{name} gives nothing")
            read = [t for i in args[:-1] for t in self._tensors(i)]
            made = self._tensors(args[-1])
            if kind == COPY:
                for target, source in zip(made, read, strict=True):
                    self.tensors[target] = replace(self.tensors[source], name=target)
                continue
            found.append(self._node(kind, args, read, made))
        return found

    def _node(self, kind: str, args: tuple[int, ...], read: list[str], made: list[str]) -> FileNode:
        name, macs = NAMES.get(kind, kind), 0
        out = self.tensors[made[0]] if made else FileTensor("", (), "")
        if kind.startswith(WEIGHTED) and len(args) > BIAS:
            name, macs, read = self._int8(kind, args, out, read)
        elif kind.startswith("q8ta") and len(args) > OUT_SCALE + 2:
            # A sum's own scale follows those of its two operands.
            self._codes(made[0], args, OUT_SCALE)
            name = kind.removeprefix("q8ta_")
        elif kind == "convolution" and len(read) > 1:
            weight = self.tensors[read[1]].shape
            wide = len(weight) > 1 and weight[1] == 1 < self.tensors[read[0]].shape[1]
            name = ops.DEPTHWISE if wide else ops.CONV
            macs = math.prod(out.shape) * math.prod(weight[1:])
        elif name in (ops.MATMUL, ops.LINEAR):
            macs = math.prod(out.shape) * self.tensors[read[0]].shape[-1]
        elif name == ops.QUANTIZE:
            self._codes(made[0], args, 1)
        elif kind == "gelu":
            self.exact_gelu |= self.graph.setting(args[1]) != "tanh"
        known = bool(macs) or not any(w in kind for w in ("conv", "linear", "sdpa", "lstm"))
        return FileNode(name, tuple(read), tuple(made), macs, self.partition, known)

    def _int8(
        self, kind: str, args: tuple[int, ...], out: FileTensor, read: list[str]
    ) -> tuple[str, int, list[str]]:
        """(Normalized name, multiply-accumulates, operands) of an int8 convolution or linear, whose
        weight lies in the file in a layout of the delegate's own."""
        self._codes(out.name, args, OUT_SCALE)
        data, weight, scales = (self._tensors(args[i])[0] for i in (0, WEIGHT, WEIGHT_SCALES))
        groups, inner = 1, self.tensors[data].shape[-1]
        channels = out.shape[-1]
        if kind.startswith("q8ta_conv2d"):
            kernel, groups = self.graph.setting(args[KERNEL]), self.graph.setting(args[GROUPS])
            if not isinstance(kernel, list) or not isinstance(groups, int) or groups < 1:
                raise DamagedError(f"{kind} has no kernel or no groups")
            channels = out.shape[1]
            inner = self.tensors[data].shape[1] // groups * math.prod(kernel)
        values = self._values(scales)
        if values is not None:
            scale = tuple(values.astype(np.float64).tolist())[:channels]
            self.tensors[weight] = replace(
                self.tensors[weight], scale=scale, zero_point=(0,) * len(scale), axis=0
            )
        wide = groups > 1 and groups == channels
        name = ops.LINEAR if "linear" in kind else ops.DEPTHWISE if wide else ops.CONV
        return name, math.prod(out.shape) * inner, [data, weight, *self._tensors(args[BIAS])]

    def _codes(self, name: str, args: tuple[int, ...], place: int) -> None:
        """Note scale and zero point, which stand at `place` and after it, of a tensor of codes."""
        scale, zero = (self.graph.setting(i) for i in args[place : place + 2])
        if isinstance(scale, float) and isinstance(zero, int) and scale > 0:
            self.tensors[name] = replace(self.tensors[name], scale=(scale,), zero_point=(zero,))

    def _tensors(self, index: int) -> list[str]:
        """Names of the tensors that a value is, or lists."""
        kind, fields = self.graph.value(index)
        if kind == "ValueList":
            listed = [int(i) for i in fields["items"]]
            return [
                t for i in listed if self.graph.value(i)[0] == "VkTensor" for t in self._tensors(i)
            ]
        return [self._tensor(index, fields)] if kind == "VkTensor" else []

    def _tensor(self, index: int, fields: dict[str, Any]) -> str:
        name = self.names.setdefault(index, f"p{self.partition}.v{index}")
        if name not in self.tensors:
            constant = int(fields["constant_id"]) >= 0
            tensor = FileTensor(
                name,
                tuple(int(n) for n in fields["dims"]),
                DTYPES.get(fields["datatype"], str(fields["datatype"]).lower()),
                constant=constant,
            )
            self.tensors[name] = tensor
            values = self._stored(int(fields["constant_id"]), tensor) if constant else None
            if values is not None:
                self.tensors[name] = replace(tensor, fill=fill_of(values))
        return name

    def _values(self, name: str) -> np.ndarray | None:
        """What a constant holds."""
        index = next(i for i, n in self.names.items() if n == name)
        fields = self.graph.value(index)[1]
        number = int(fields["constant_id"])
        return self._stored(number, self.tensors[name]) if number >= 0 else None

    def _stored(self, number: int, tensor: FileTensor) -> np.ndarray | None:
        """A constant's values; floats may be stored wider than the GPU computes."""
        data = at(self.graph.constants, number, "constant")
        count = math.prod(tensor.shape)
        stored = (tensor.dtype, "float32") if tensor.dtype == "float16" else (tensor.dtype,)
        for dtype in stored if data is not None else ():
            known = dtype in DTYPES.values()
            if known and len(data) == count * np.dtype(dtype).itemsize:
                return np.frombuffer(data, dtype)
        return None
