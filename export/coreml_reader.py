"""Reading a Core ML package: its specification, its MIL program, its graph for the audit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.graph import (
    CONCAT,
    CONV,
    DEPTHWISE,
    DEQUANTIZE,
    LINEAR,
    MATMUL,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    FileGraph,
    FileNode,
    FileTensor,
)
from export.quiet import quiet
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError

MODEL_PATH = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS_FOLDER = Path("Data/com.apple.CoreML/weights")
PREPROCESS_KEY = "preprocessing"
# Constants are values, not work: they become tensors of the graph.
CONSTANT_OPS = ("const", "constexpr_affine_dequantize")
OP_NAMES = {
    "quantize": QUANTIZE,
    "dequantize": DEQUANTIZE,
    "linear": LINEAR,
    "matmul": MATMUL,
    "transpose": TRANSPOSE,
    "reshape": RESHAPE,
    "concat": CONCAT,
}
DTYPES = {"fp32": "float32", "fp16": "float16", "str": "string"}


@dataclass(frozen=True)
class Package:
    """An opened `.mlpackage`.

    spec: the `Model` protobuf. operations: coremltools' MIL operations of the main function, in
    the file's order, constants included.
    """

    path: Path
    spec: Any
    operations: tuple[Any, ...]

    @property
    def input_name(self) -> str:
        """Name of the only input."""
        return self.spec.description.input[0].name

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(o.name for o in self.spec.description.output)

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing that the file carries; `UserError` where it carries none."""
        text = self.spec.description.metadata.userDefined.get(PREPROCESS_KEY)
        if not text:
            raise UserError(f"{self.path}: carries no preprocessing; not written by this project")
        return Preprocess.from_dict(json.loads(text))


def open_package(path: Path) -> Package:
    """Open a `.mlpackage` and read its program and weights back from disk.

    Raises `UserError` where the file is missing, damaged or no ML program.
    """
    path = Path(path)
    model = path / MODEL_PATH
    if not model.is_file():
        raise UserError(f"{path}: not a Core ML package ({MODEL_PATH} is missing)")
    try:
        with quiet():
            from coremltools.converters.mil.frontend.milproto.load import load as load_mil
            from coremltools.proto import Model_pb2

            spec = Model_pb2.Model()
            spec.ParseFromString(model.read_bytes())
            if spec.WhichOneof("Type") != "mlProgram":
                raise UserError(f"{path}: not an ML program; export it for iOS 15 or later")
            _check_weights(path, spec)
            program = load_mil(
                spec, spec.specificationVersion, file_weights_dir=str(path / WEIGHTS_FOLDER)
            )
            (function,) = program.functions.values()
            return Package(path, spec, tuple(function.operations))
    except UserError:
        raise
    except Exception as error:
        # Protobuf, the blob reader (C++) and coremltools' type checks each raise their own types.
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: damaged Core ML package ({detail}); export it again") from None


def _check_weights(path: Path, spec: Any) -> None:
    """The weight file holds every blob that the program points at, whole.

    Each blob has a 64-byte header: sentinel 0xDEADBEEF, dtype, size and offset of its data. The
    C++ reader trusts those, so they are checked first.
    """
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for op in block.operations:
                values = [*op.attributes.values()]
                values += [b.value for a in op.inputs.values() for b in a.arguments]
                for value in values:
                    if value.WhichOneof("value") != "blobFileValue":
                        continue
                    blob = value.blobFileValue
                    file = path / WEIGHTS_FOLDER / blob.fileName.split("/")[-1]
                    data = file.open("rb")
                    with data:
                        data.seek(blob.offset)
                        header = data.read(64)
                    if len(header) < 64 or header[:4] != b"\xef\xbe\xad\xde":
                        raise ValueError(f"{file.name} holds no blob at {blob.offset}")
                    size, offset = (int(v) for v in np.frombuffer(header[8:24], "<u8"))
                    if offset + size > file.stat().st_size:
                        raise ValueError(f"{file.name} is cut short")


def constant(var: Any) -> np.ndarray | None:
    """Value of a MIL variable that is known from the file alone, else None."""
    op = getattr(var, "op", None)
    if op is not None and op.op_type == "constexpr_affine_dequantize":
        return np.asarray(op.materialized_val_inference())
    if getattr(var, "val", None) is None:
        return None
    return np.asarray(var.val)


def quantization(op: Any) -> tuple[tuple[float, ...], tuple[int, ...], int | None]:
    """(scales, zero points, axis) of a quantize, dequantize or constexpr_affine_dequantize."""
    scale = np.atleast_1d(np.asarray(op.inputs["scale"].val, np.float64))
    given = op.inputs.get("zero_point")
    zero = np.zeros(1, np.int64) if given is None else np.atleast_1d(np.asarray(given.val))
    zero = np.broadcast_to(zero.astype(np.int64), scale.shape)
    axis = op.inputs.get("axis")
    per_channel = axis is not None and axis.val is not None and scale.size > 1
    return tuple(scale.tolist()), tuple(zero.tolist()), int(axis.val) if per_channel else None


def read_graph(path: Path) -> FileGraph:
    """The package's graph, from the file alone.

    An int8 weight appears as the constant input of its convolution, with its scales; where Core
    ML places the ops (Neural Engine, GPU, CPU) is decided on the device: partitions are None.
    """
    package = open_package(path)
    tensors: dict[str, FileTensor] = {}
    nodes: list[FileNode] = []
    for op in package.operations:
        if op.op_type == "const":
            continue
        inputs = [v for name in _data_inputs(op) for v in _as_list(op.inputs[name])]
        if op.op_type in CONSTANT_OPS:
            _add_int8_constant(op, tensors)
            continue
        for var in inputs:
            if var.name not in tensors:
                tensors[var.name] = _tensor(var)
        for var in op.outputs:
            tensors[var.name] = _tensor(var)
        if op.op_type == "quantize":
            var = op.outputs[0]
            dtype = str(op.inputs["output_dtype"].val)
            tensors[var.name] = FileTensor(var.name, tuple(var.shape), dtype, *quantization(op))
        name, macs = _work(op)
        outputs = tuple(v.name for v in op.outputs)
        nodes.append(FileNode(name, tuple(v.name for v in inputs), outputs, macs, 0))
    inputs = (package.input_name,)
    return FileGraph("coreml", tensors, _outside_delegates(nodes), inputs, package.output_names)


def _outside_delegates(nodes: list[FileNode]) -> tuple[FileNode, ...]:
    return tuple(FileNode(n.op, n.inputs, n.outputs, n.macs) for n in nodes)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


# The inputs that are data; the others are attributes (strides, axes, scales…).
DATA_INPUTS = ("x", "y", "input", "weight", "bias", "values", "probabilities", "data")


def _data_inputs(op: Any) -> list[str]:
    names = [n for n in DATA_INPUTS if op.inputs.get(n) is not None]
    return [n for n in names if not (op.op_type == "layer_norm" and n in ("weight", "bias"))]


def _tensor(var: Any) -> FileTensor:
    known = getattr(var, "val", None) is not None
    return FileTensor(var.name, _shape(var), _dtype(var), constant=known)


def _shape(var: Any) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in var.shape)
    except Exception:  # strings and dictionaries have none
        return ()


def _dtype(var: Any) -> str:
    try:
        from coremltools.converters.mil.mil import types

        name = types.builtin_to_string(var.dtype)
    except Exception:
        return "other"
    return DTYPES.get(name, name)


def _add_int8_constant(op: Any, tensors: dict[str, FileTensor]) -> None:
    var = op.outputs[0]
    codes = np.asarray(op.inputs["quantized_data"].val)
    scale, zero, axis = quantization(op)
    tensors[var.name] = FileTensor(
        var.name, tuple(codes.shape), str(codes.dtype), scale, zero, axis, constant=True
    )


def _work(op: Any) -> tuple[str, int]:
    """(Normalised op name, multiply-accumulates)."""
    kind = op.op_type
    if kind == "conv":
        weight, out = op.inputs["weight"].shape, op.outputs[0].shape
        groups = 1 if op.inputs.get("groups") is None else int(op.inputs["groups"].val)
        macs = math.prod(int(n) for n in out) * math.prod(int(n) for n in weight[1:])
        depthwise = groups > 1 and groups == int(weight[0])
        return (DEPTHWISE if depthwise else CONV), macs
    if kind == "linear":
        return LINEAR, math.prod(op.outputs[0].shape) * int(op.inputs["weight"].shape[1])
    if kind == "matmul":
        transposed = op.inputs.get("transpose_x")
        inner = -2 if transposed is not None and bool(transposed.val) else -1
        return MATMUL, math.prod(op.outputs[0].shape) * int(op.inputs["x"].shape[inner])
    return OP_NAMES.get(kind, kind), 0
