"""The tables of a `.tflite` file, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.targets.flatbuffer import DamagedError, UnsupportedError, at
from export.targets.tflite.edit import TFL_IDENTIFIER
from export.targets.tflite.schema import CALLED, tflite_schema
from mobilemod.errors import UserError

DTYPES = {v: k.lower() for k, v in vars(schema.TensorType).items() if not k.startswith("_")}


def read_model(path: Path) -> dict[str, Any]:
    """The file's tables, by `tflite_schema`; `UserError` where it is no whole TFLite model."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read, {error.strerror}") from None
    try:
        if content[4:8] != TFL_IDENTIFIER:
            raise DamagedError("not a TFLite model: its identifier is missing")
        model = tflite_schema().read(content, "Model")
        _check(model, len(content))
    except UnsupportedError as error:
        raise UserError(f"{path}: not supported: {error}") from None
    except DamagedError as error:
        raise UserError(f"{path}: damaged or cut off: {error}; export it again") from None
    return model


def _check(model: dict[str, Any], length: int) -> None:
    """Every index leads somewhere, so that nobody need look again."""
    if not model["subgraphs"]:
        raise DamagedError("it has no subgraph")
    for buffer in model["buffers"]:
        if buffer["offset"] > 1 and buffer["offset"] + buffer["size"] > length:
            raise DamagedError(f"a constant leads to byte {buffer['offset'] + buffer['size']}")
    for entry in model["metadata"]:
        at(model["buffers"], entry["buffer"], "buffer")
    for signature in model["signature_defs"]:
        at(model["subgraphs"], signature["subgraph_index"], "subgraph")
    for graph in model["subgraphs"]:
        for tensor in graph["tensors"]:
            at(model["buffers"], tensor["buffer"], "buffer")
            if tensor["type"] not in DTYPES:
                raise UnsupportedError(f"tensor type {tensor['type']}, unknown to this runtime")
        for index in (*graph["inputs"], *graph["outputs"]):
            at(graph["tensors"], index, "tensor")
        for op in graph["operators"]:
            at(model["operator_codes"], op["opcode_index"], "operator code")
            for index in (*op["inputs"], *op["outputs"]):
                if index != -1:
                    at(graph["tensors"], index, "tensor")
            for index in called(op):
                at(model["subgraphs"], index, "subgraph")


def called(op: dict[str, Any]) -> list[int]:
    """The subgraphs that a control-flow operator runs."""
    found: list[int] = []
    for union in (op["builtin_options"], op["builtin_options_2"]):
        for field in CALLED if union else ():
            found += [int(i) for i in np.atleast_1d(union[1].get(field, []))]
    return found


def names_of(graph: dict[str, Any], prefix: str = "") -> list[str]:
    """A distinct name per tensor; nothing in the format forbids doubles."""
    names: list[str] = []
    seen: set[str] = set()
    for i, tensor in enumerate(graph["tensors"]):
        name = prefix + tensor["name"]
        if not tensor["name"] or name in seen:
            name = f"{name}#{i}"
        seen.add(name)
        names.append(name)
    return names
