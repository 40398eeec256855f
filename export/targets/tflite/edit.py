"""Changes to a converted TFLite model: float edges, names of the published network, metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TFL_IDENTIFIER = b"TFL3"
# Constants start at multiples of this, as the runtime's own schema demands (force_align).
BUFFER_ALIGNMENT = 16
OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
# What XNNPACK delegates in float alone.
FLOAT_ALONE = ("GELU", "AVERAGE_POOL_2D", "HARD_SWISH")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
INT8_VERSIONS = {"DEQUANTIZE": 2, "ARG_MAX": 2}


class _AlignedBuilder(flatbuffers.Builder):
    """A builder whose byte vectors, which hold the constants, are aligned."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        if elemSize == 1:
            alignment = BUFFER_ALIGNMENT
        return super().StartVector(elemSize, numElems, alignment)


class TfliteModel:
    """A model unpacked for editing; it has one subgraph with one input and one output."""

    def __init__(self, content: bytes):
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph = self.model.subgraphs[0]

    def op_name(self, op: schema.OperatorT) -> str:
        """The builtin operator's name, "CONV_2D"."""
        code = self.model.operatorCodes[op.opcodeIndex]
        return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def pack(self) -> bytes:
        """The file's bytes."""
        builder = _AlignedBuilder(1 << 20)
        builder.Finish(self.model.Pack(builder), TFL_IDENTIFIER)
        return bytes(builder.Output())

    def add_metadata(self, name: str, content: bytes) -> None:
        """Append a named metadata buffer."""
        buffer = self.add_buffer(np.frombuffer(content, np.uint8))
        entry = schema.MetadataT(name=name, buffer=buffer)
        self.model.metadata = [*(self.model.metadata or []), entry]

    def drop_metadata(self, *names: str) -> None:
        """Remove the metadata of these names and its buffers, which must be the last ones."""
        for entry in reversed(list(self.model.metadata or [])):
            name = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
            if name not in names:
                continue
            if entry.buffer != len(self.model.buffers) - 1:
                raise ValueError(f"metadata {name!r} is not at the model's end")
            self.model.buffers.pop()
            self.model.metadata.remove(entry)

    def float_edges(self) -> None:
        """An int8 input gets a QUANTIZE before it, an int8 output a DEQUANTIZE behind it."""
        graph = self.graph
        start, end = int(graph.inputs[0]), int(graph.outputs[0])
        if self._is_int8(start):
            self.graph.tensors[start].name = "image:quantize"
            edge = self._add_like("image", start)
            graph.operators.insert(0, self._operator("QUANTIZE", edge, start))
            graph.inputs = [edge]
        if self._is_int8(end):
            edge = self._add_like("logits", end)
            graph.operators.append(self._operator("DEQUANTIZE", end, edge))
            graph.outputs = [edge]

    def answer_classes(self) -> None:
        """In place of the output (1, h, w, K) the map of its largest values, uint8 (1, h, w): of
        codes the same, and sooner. The runtime's kernel takes the first of equal ones."""
        end, kinds = int(self.graph.outputs[0]), schema.TensorType
        shape = self.graph.tensors[end].shape[:-1]
        axis = self._add("answer:axis", [1], kinds.INT32)
        self.graph.tensors[axis].buffer = self.add_buffer(np.array([len(shape)], "<i4"))
        found = self._add("answer:arg_max", shape, kinds.INT32)
        classes = self._add("answer:cast", shape, kinds.UINT8)
        largest = self._operator("ARG_MAX", end, found)
        largest.inputs.append(axis)
        largest.builtinOptionsType = schema.BuiltinOptions.ArgMaxOptions
        largest.builtinOptions = schema.ArgMaxOptionsT(outputType=kinds.INT32)
        cast = self._operator("CAST", found, classes)
        cast.builtinOptionsType = schema.BuiltinOptions.CastOptions
        cast.builtinOptions = schema.CastOptionsT(inDataType=kinds.INT32, outDataType=kinds.UINT8)
        self.graph.operators += [largest, cast]
        self.graph.outputs = [classes]

    def name_edges(self, input_name: str, output_name: str) -> None:
        """Name the input and output tensors, in the graph and in its one signature."""
        start, end = int(self.graph.inputs[0]), int(self.graph.outputs[0])
        self.graph.tensors[start].name = input_name
        self.graph.tensors[end].name = output_name
        signature = self.model.signatureDefs[0]
        signature.inputs = [schema.TensorMapT(name=input_name, tensorIndex=start)]
        signature.outputs = [schema.TensorMapT(name=output_name, tensorIndex=end)]

    def float_alone(self) -> None:
        """Every int8 op of `FLOAT_ALONE` as DEQUANTIZE, the float op, QUANTIZE.

        The converter fuses exactly these three into the int8 op, so values stay the same up to
        the rounding of ties.
        """
        operators = []
        for op in self.graph.operators:
            source, target = int(op.inputs[0]), int(op.outputs[0])
            if self.op_name(op) not in FLOAT_ALONE or not self._is_int8(source):
                operators.append(op)
                continue
            real = self._add_like(f"{self._name(source)}.float", source)
            result = self._add_like(f"{self._name(target)}.float", target)
            op.inputs, op.outputs = [real], [result]
            operators += [
                self._operator("DEQUANTIZE", source, real),
                op,
                self._operator("QUANTIZE", result, target),
            ]
        self.graph.operators = operators

    def rename(self, published: Callable[[str], str]) -> None:
        """Name tensors by the published module they belong to: `module:weight`, `module:mul`.

        published: from a tensor's name as converted to its module's published path.
        """
        taken: set[str] = set()
        done: set[int] = set()

        def name(index: int, wanted: str) -> None:
            if index in done:
                return
            done.add(index)
            unique, count = wanted, 2
            while unique in taken:
                unique, count = f"{wanted}.{count}", count + 1
            taken.add(unique)
            self.graph.tensors[index].name = unique

        for op in self.graph.operators:
            kind, output = self.op_name(op), int(op.outputs[0])
            module = published(self._name(output))
            roles = ("", "weight", "bias") if kind in WEIGHTED else ()
            for position, index in enumerate(int(i) for i in op.inputs):
                if index >= 0 and self.is_constant(index):
                    role = roles[position] if position < len(roles) else "constant"
                    name(index, f"{module}:{role}")
            name(output, f"{module}:{kind.lower()}")

    def drop_unread(self) -> None:
        """Take out ops whose result nothing reads, and those that only they read."""
        kept, read = [], {int(i) for i in self.graph.outputs}
        for op in reversed(self.graph.operators):
            if any(int(i) in read for i in op.outputs):
                kept.append(op)
                read |= {int(i) for i in op.inputs}
        self.graph.operators = kept[::-1]

    def constant(self, index: int, dtype: type[np.generic]) -> np.ndarray:
        """The values that a tensor is stored with, flat."""
        return self.model.buffers[self.graph.tensors[index].buffer].data.view(dtype)

    def add_buffer(self, values: np.ndarray) -> int:
        """Store the values; the buffer's index."""
        self.model.buffers.append(schema.BufferT(data=values.view(np.uint8)))
        return len(self.model.buffers) - 1

    def has_float_compute(self) -> bool:
        """Whether any op but the edges computes in float."""
        return any(
            self.op_name(op) not in ("QUANTIZE", "DEQUANTIZE")
            and self.graph.tensors[int(op.outputs[0])].type == schema.TensorType.FLOAT32
            for op in self.graph.operators
        )

    def _name(self, index: int) -> str:
        name = self.graph.tensors[index].name or ""
        return name.decode() if isinstance(name, bytes) else name

    def _is_int8(self, index: int) -> bool:
        return self.graph.tensors[index].type == schema.TensorType.INT8

    def is_constant(self, index: int) -> bool:
        return self.model.buffers[self.graph.tensors[index].buffer].data is not None

    def _add_like(self, name: str, like: int) -> int:
        """A float32 activation of the shape of tensor `like`; its index."""
        return self._add(name, self.graph.tensors[like].shape, schema.TensorType.FLOAT32)

    def _add(self, name: str, shape: Sequence[int], kind: int) -> int:
        """A tensor of this `TensorType`; its index."""
        tensor = schema.TensorT(name=name, shape=shape, type=kind)
        tensor.hasRank = True
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _operator(self, kind: str, source: int, target: int) -> schema.OperatorT:
        return schema.OperatorT(opcodeIndex=self._opcode(kind), inputs=[source], outputs=[target])

    def _opcode(self, kind: str) -> int:
        for i, code in enumerate(self.model.operatorCodes):
            if OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)] == kind:
                return i
        number = getattr(schema.BuiltinOperator, kind)
        code = schema.OperatorCodeT(
            deprecatedBuiltinCode=number,
            builtinCode=number,
            version=INT8_VERSIONS.get(kind, 1),
        )
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1
