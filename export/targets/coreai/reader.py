"""The program of an `.aimodel`: MLIR bytecode in a folder, with JSON metadata beside it."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.quiet import quiet
from export.targets import isolated
from export.targets.coreai.toolkit import package, words
from mobilemod.errors import UserError

PROGRAM, METADATA = "main.mlirb", "metadata.json"
# Where the metadata holds keys of our own; TENSORS: names by the number of the op that makes them.
OWN, TENSORS, LABELS = "creatorDefinedMetadata", "tensors", "labels"
PREPROCESS, PRECISION = "preprocessing", "precision"
CONSTANT, GRAPH, OUTPUT, INVOKE, QUANTIZE, DEQUANTIZE, CONV, PAD, GELU = (
    f"coreai.{n}"
    for n in (
        "constant", "graph", "output", "invoke", "quantize", "dequantize", "conv2d", "pad", "gelu",
    )
)  # fmt: skip
PRIVATE = "priv"
PARSER = "coreai.authoring.asset"
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i1": "bool"}
NAMED_BLOB = re.compile(r"dense_resource<(\w+)>")
BLOB, ALIGNMENT = re.compile(r'(\w+): "0x([0-9A-Fa-f]*)"'), 4
OP_ID = re.compile(r'"op_id": \{type = "coreai", value = (\d+)')


@dataclass(frozen=True)
class Asset:
    """An opened `.aimodel`. program: the runtime's own object; graph: the function in it; called:
    the others, by name. names: of its inputs; tensors: our names, by `op_id`; constant: what it
    stores."""

    path: Path
    program: Any
    graph: Any
    called: dict[str, Any]
    names: tuple[str, ...]
    tensors: dict[str, str]
    constant: Constants


def open_asset(path: Path) -> Asset:
    """Open an `.aimodel`; `UserError` where it is missing, damaged or of several functions."""
    path = Path(path)
    asset = package(PARSER).AIModelAsset
    own = read_metadata(path)
    try:
        # Native code that ends the process where a file isn't as it wants it: tried in another.
        isolated.call(_parsed, asset, path)
        program = _parse(asset, path)
    except Exception as error:  # whatever the parser throws
        raise UserError(
            f"{path}: damaged Core AI model ({words(error)}); export it again"
        ) from None
    public, called = functions(program)
    if len(public) != 1:
        raise UserError(f"{path}: not supported: {len(public)} functions; give one")
    arguments = [
        re.findall(r'coreai.name = "([^"]*)"', str(a)) for a in public[0].attributes["arg_attrs"]
    ]
    names = tuple(n[0] if n else f"input{i}" for i, n in enumerate(arguments))
    tensors = own.get(TENSORS, {})
    tensors = tensors if isinstance(tensors, dict) else {}
    return Asset(path, program, public[0], called, names, tensors, Constants(program))


def _parse(asset: Any, path: Path) -> Any:
    with quiet():
        return asset.load(path).program


def _parsed(asset: Any, path: Path) -> bool:
    """That it can be: a program itself doesn't go from one process to another."""
    return _parse(asset, path) is not None


def functions(program: Any) -> tuple[list[Any], dict[str, Any]]:
    """The functions of a program, and what they call, by name."""
    graphs = [op for op in program._module._mlir_module.body.operations if op.name == GRAPH]
    public = [g for g in graphs if PRIVATE not in g.attributes]
    called = {str(g.attributes["sym_name"]).strip('"'): g for g in graphs if g not in public}
    return public, called


def operations(program: Any) -> tuple[Any, ...]:
    """The operations of a program's first function, in order, without what it calls."""
    return body(functions(program)[0][0])


def body(graph: Any) -> tuple[Any, ...]:
    """The operations of a function."""
    return tuple(graph.regions[0].blocks[0].operations)


def op_id(op: Any) -> str:
    """The number that the converter gave an op, "" where it has none."""
    found = OP_ID.search(str(op.location))
    return found.group(1) if found else ""


def read_metadata(path: Path) -> dict[str, Any]:
    """What the asset says of itself in keys of ours; `UserError` where it is no asset."""
    if not (path / PROGRAM).is_file():
        raise UserError(f"{path}: not a Core AI model ({PROGRAM} is missing)")
    try:
        values = json.loads((path / METADATA).read_text("utf-8"))
        own = values.get(OWN, {})
        return own if isinstance(own, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged: {METADATA} ({error}); export it again") from None


class Constants:
    """What a program stores. Large values lie in blobs, which only its text tells."""

    def __init__(self, program: Any):
        self.module = program._module._mlir_module

    @functools.cached_property
    def blobs(self) -> dict[str, str]:
        """Name of a blob -> its bytes in hex, behind four that tell how it is aligned."""
        text = self.module.operation.get_asm(large_elements_limit=16)
        return dict(BLOB.findall(text[text.find("{-#") :]))

    def __call__(self, value: Any) -> np.ndarray | None:
        """The values of a stored tensor; None for one that is computed."""
        op = getattr(value, "owner", None)
        if getattr(op, "name", "") != CONSTANT:
            return None
        attribute = op.attributes["value"]
        named = NAMED_BLOB.match(str(attribute))
        if named is None:
            return np.array(attribute)
        shape, dtype = tensor_type(value)
        if dtype not in np.sctypeDict:
            return None
        data = bytes.fromhex(self.blobs[named.group(1)])[ALIGNMENT:]
        return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def tensor_type(value: Any) -> tuple[tuple[int, ...], str]:
    """(Shape, -1 where it isn't fixed; number format) of a value."""
    element = str(value.type.element_type)
    shape = tuple(d if d >= 0 else -1 for d in value.type.shape)
    if element[:2] in ("si", "ui"):
        return shape, ("int" if element[0] == "s" else "uint") + element[2:]
    return shape, DTYPES.get(element, element)
