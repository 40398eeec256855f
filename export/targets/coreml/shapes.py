"""Shapes of a Core ML program whose inputs may vary: those that its default input gives."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from export.graph import shape_text
from export.quiet import quiet
from export.targets.coreml.reader import operations
from export.targets.coreml.values import tensor_type

Key = tuple[str, str]  # (function, name of a value)


def default_shapes(spec: Any) -> tuple[dict[Key, tuple[int, ...]], list[str]]:
    """(Inputs whose shape varies -> their default shape, a note on each)."""
    shapes: dict[Key, tuple[int, ...]] = {}
    notes = []
    for name, function in spec.mlProgram.functions.items():
        described = {f.name: f for f in _description(spec, name)}
        for value in function.inputs:
            dims, _ = tensor_type(value.type)
            if -1 not in dims:
                continue
            default = _default(described.get(value.name))
            default = default if len(default) == len(dims) else (1,) * len(dims)
            fixed = tuple(d if n < 0 else n for n, d in zip(dims, default, strict=True))
            shapes[name, value.name] = fixed
            free, given = shape_text(dims), shape_text(fixed)
            notes.append(f"input {value.name} is {free}: the work is of its default, {given}")
    return shapes, notes


def _description(spec: Any, function: str) -> list[Any]:
    for described in spec.description.functions:
        if described.name == function:
            return list(described.input)
    return list(spec.description.input)


def _default(feature: Any) -> tuple[int, ...]:
    if feature is None:
        return ()
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        return tuple(int(d) for d in feature.type.multiArrayType.shape)
    if kind == "imageType":
        image = feature.type.imageType
        channels = 1 if image.colorSpace == 10 else 3  # GRAYSCALE
        return (1, channels, int(image.height), int(image.width))
    return ()


def prepare_to_infer() -> None:
    """Import what `infer_shapes` needs: seconds that a call with a time limit shouldn't count."""
    with quiet():
        import coremltools.converters.mil.frontend.milproto.load  # noqa: F401


def infer_shapes(
    spec: Any, given: dict[Key, tuple[int, ...]], folder: str
) -> dict[Key, tuple[int, ...]]:
    """Shapes of all values, by coremltools' own rules, with the inputs in `given` fixed.

    Raises whatever coremltools raises; allocates what the file's constants ask for.
    """
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    spec = copy.deepcopy(spec)
    for (name, value), shape in given.items():
        for declared in spec.mlProgram.functions[name].inputs:
            if declared.name == value:
                dims = declared.type.tensorType.dimensions
                for d, length in zip(dims, shape, strict=True):
                    d.constant.size = length
    with quiet():
        program = load_mil(spec, spec.specificationVersion, file_weights_dir=folder)
    shapes: dict[Key, tuple[int, ...]] = {}
    for name, function in program.functions.items():
        for op in operations(function):
            for var in op.outputs:
                with contextlib.suppress(Exception):  # strings and symbols have no such shape
                    shapes[name, var.name] = tuple(int(n) for n in var.shape)
    return shapes
