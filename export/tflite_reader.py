"""What is in a `.tflite` file: ops, tensors, delegate partitions, constants, metadata."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

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
from export.tflite_edit import OPERATORS, TFL_IDENTIFIER
from mobilemod.errors import UserError

TARGET = "tflite"
DTYPES = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}
NORMALISED = {
    "QUANTIZE": QUANTIZE,
    "DEQUANTIZE": DEQUANTIZE,
    "CONV_2D": CONV,
    "DEPTHWISE_CONV_2D": DEPTHWISE,
    "FULLY_CONNECTED": LINEAR,
    "BATCH_MATMUL": MATMUL,
    "TRANSPOSE": TRANSPOSE,
    "RESHAPE": RESHAPE,
    "CONCATENATION": CONCAT,
}


def read_model(path: Path) -> schema.ModelT:
    """The unpacked model; `UserError` where the file is not a whole TFLite model."""
    damaged = UserError(f"{path}: not a TFLite model, or damaged or cut short; export it again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read, {error.strerror}") from None
    if content[4:8] != TFL_IDENTIFIER:
        raise damaged
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        tensors = model.subgraphs[0].tensors
        whole = bool(tensors) and all(t.buffer < len(model.buffers) for t in tensors)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError):
        raise damaged from None
    if not whole:
        raise damaged
    return model


def open_interpreter(path: Path, threads: int) -> Interpreter:
    """An interpreter with the default XNNPACK delegate, ready to run."""
    read_model(path)
    try:
        with quiet():
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: the TFLite runtime refuses the file: {reason}") from None
    return interpreter


def read_graph(path: Path) -> FileGraph:
    """The file's graph, with the partitions that the default XNNPACK delegate makes of it here."""
    model = read_model(path)
    graph = model.subgraphs[0]
    names = _names(graph)
    tensors = {
        name: _tensor(name, t, model.buffers[t.buffer].data is not None)
        for name, t in zip(names, graph.tensors, strict=True)
    }
    membership, count = _partitions(open_interpreter(path, 1), graph)
    nodes = []
    for i, op in enumerate(graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        kind = OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        inputs = tuple(names[j] for j in op.inputs if j >= 0)
        outputs = tuple(names[j] for j in op.outputs)
        nodes.append(
            FileNode(
                NORMALISED.get(kind, kind.lower()),
                inputs,
                outputs,
                _macs(kind, op, graph),
                membership.get(i),
            )
        )
    return FileGraph(
        TARGET,
        tensors,
        tuple(nodes),
        tuple(names[i] for i in graph.inputs),
        tuple(names[i] for i in graph.outputs),
        count,
    )


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """Tensor name -> value of every int8 and float32 constant, in the file's shape."""
    model = read_model(path)
    graph = model.subgraphs[0]
    dtypes = {schema.TensorType.INT8: np.int8, schema.TensorType.FLOAT32: np.float32}
    found = {}
    for name, t in zip(_names(graph), graph.tensors, strict=True):
        data = model.buffers[t.buffer].data
        if data is not None and t.type in dtypes:
            shape = [] if t.shape is None else t.shape
            found[name] = np.frombuffer(data.tobytes(), dtypes[t.type]).reshape(shape)
    return found


def read_metadata(path: Path) -> dict[str, bytes]:
    """Name -> content of the model's metadata buffers."""
    model = read_model(path)
    found = {}
    for entry in model.metadata or []:
        data = model.buffers[entry.buffer].data
        name = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
        found[name] = b"" if data is None else data.tobytes()
    return found


def _names(graph: schema.SubGraphT) -> list[str]:
    """A distinct name per tensor; nothing in the format forbids doubles."""
    names: list[str] = []
    seen: set[str] = set()
    for i, tensor in enumerate(graph.tensors):
        raw = tensor.name or b""
        name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        if not name or name in seen:
            name = f"{name}#{i}"
        seen.add(name)
        names.append(name)
    return names


def _tensor(name: str, tensor: schema.TensorT, constant: bool) -> FileTensor:
    params = tensor.quantization
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    if params is not None and params.scale is not None:
        scale = tuple(float(s) for s in params.scale)
        zeros = params.zeroPoint if params.zeroPoint is not None else [0] * len(scale)
        zero_point = tuple(int(z) for z in zeros)
    shape = () if tensor.shape is None else tuple(int(d) for d in tensor.shape)
    axis = int(params.quantizedDimension) if len(scale) > 1 else None
    return FileTensor(name, shape, DTYPES[tensor.type], scale, zero_point, axis, constant)


def _macs(kind: str, op: schema.OperatorT, graph: schema.SubGraphT) -> int:
    """Multiply-accumulates; weights are (out, h, w, in), depthwise (1, h, w, out)."""

    def shape(index: int) -> tuple[int, ...]:
        found = graph.tensors[index].shape
        return () if found is None else tuple(int(d) for d in found)

    if NORMALISED.get(kind) not in (CONV, DEPTHWISE, LINEAR, MATMUL):
        return 0
    produced, second = math.prod(shape(op.outputs[0])), shape(op.inputs[1])
    if kind in ("CONV_2D", "FULLY_CONNECTED"):
        return produced * math.prod(second[1:])
    if kind == "DEPTHWISE_CONV_2D":
        return produced * second[1] * second[2]
    first = shape(op.inputs[0])
    return produced * (first[-2] if op.builtinOptions and op.builtinOptions.adjX else first[-1])


def _partitions(interpreter: Interpreter, graph: schema.SubGraphT) -> tuple[dict[int, int], int]:
    """Op index -> delegate partition, and the number of partitions.

    The interpreter lists a delegate's calls behind the graph's own ops, by their input and output
    tensors; the ops inside are those on the way from the ones to the others.
    """
    producer = {int(out): i for i, op in enumerate(graph.operators) for out in op.outputs}
    membership: dict[int, int] = {}
    count = 0
    for call in interpreter._get_ops_details()[len(graph.operators) :]:
        if call["op_name"] != "DELEGATE":
            continue
        given = {int(i) for i in call["inputs"]}
        pending = [int(i) for i in call["outputs"]]
        while pending:
            tensor = pending.pop()
            op = producer.get(tensor)
            if op is None or op in membership or tensor in given:
                continue
            membership[op] = count
            pending += [int(i) for i in graph.operators[op].inputs if i >= 0]
        count += 1
    return membership, count
