"""Types and constants of a Core ML program, straight from its protobuf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from export.targets.coreml.reader import blob_place

# MIL's data types that NumPy has by the same name; others (int4, palettes) stay packed.
NUMPY = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
                 "uint8", "uint16", "uint32", "uint64")
}  # fmt: skip
IMMEDIATE = {"floats": "<f4", "ints": "<i4", "bools": "?", "longInts": "<i8", "doubles": "<f8"}


class Values:
    """Looks up the constants of a program's functions, by the names of what they give."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.named: dict[str, Any] = {}

    def argument(self, op: Any, name: str) -> np.ndarray | str | None:
        """The value of an argument or attribute, None where the file doesn't hold it."""
        if name in op.attributes:
            return self.read(op.attributes[name])
        for binding in bindings(op, name):
            given = binding.value if binding.WhichOneof("binding") == "value" else None
            given = given if given is not None else self.named.get(binding.name)
            return None if given is None else self.read(given)
        return None

    def number(self, op: Any, name: str, default: int) -> int:
        """An argument that is one whole number or a truth value."""
        value = self.argument(op, name)
        return int(value.flat[0]) if isinstance(value, np.ndarray) and value.size else default

    def read(self, value: Any) -> np.ndarray | str | None:
        """An array in its own shape, a text, or None where it is neither or packed."""
        shape, dtype = tensor_type(value.type)
        where = value.WhichOneof("value")
        if where == "blobFileValue":
            if dtype not in NUMPY:
                return None
            file, offset, size = blob_place(self.folder, value)
            count = math.prod(shape)
            if size != count * NUMPY[dtype].itemsize:
                return None
            with file.open("rb") as data:
                data.seek(offset)
                return np.frombuffer(data.read(size), NUMPY[dtype]).reshape(shape)
        if where != "immediateValue" or value.immediateValue.WhichOneof("value") != "tensor":
            return None
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        if kind == "strings":
            return next(iter(tensor.strings.values), None)
        if kind == "bytes" and dtype in NUMPY:
            held = tensor.bytes.values
            whole = len(held) - len(held) % NUMPY[dtype].itemsize
            found = np.frombuffer(held[:whole], NUMPY[dtype])
        elif kind in IMMEDIATE:
            found = np.array(getattr(tensor, kind).values, IMMEDIATE[kind])
        else:
            return None
        return found.reshape(shape) if found.size == math.prod(shape) else found


def bindings(op: Any, name: str) -> list[Any]:
    """What an operation's argument is bound to: one value, or several of a tuple."""
    return list(op.inputs[name].arguments) if name in op.inputs else []


def names(op: Any, argument: str) -> Iterator[str]:
    """Names of the values that an argument is bound to."""
    for binding in bindings(op, argument):
        if binding.WhichOneof("binding") == "name":
            yield binding.name


def tensor_type(value_type: Any) -> tuple[tuple[int, ...], str]:
    """(shape, dtype) of a MIL type; -1 for a dimension that isn't fixed, () for no tensor."""
    if value_type.WhichOneof("type") == "stateType":
        value_type = value_type.stateType.wrappedType
    if value_type.WhichOneof("type") != "tensorType":
        return (), "other"
    tensor = value_type.tensorType
    dims = tuple(
        int(d.constant.size) if d.WhichOneof("dimension") == "constant" else -1
        for d in tensor.dimensions
    )
    field = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number
    known = field.get(tensor.dataType)
    return dims, known.name.lower() if known else f"type {tensor.dataType}"
