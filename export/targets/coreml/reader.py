"""Reading a Core ML package: its specification, its weights' blobs, its MIL program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.quiet import quiet
from export.targets.coreml.toolkit import model_type
from export.targets.flatbuffer import DamagedError, UnsupportedError
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError

MODEL_PATH = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS_FOLDER = Path("Data/com.apple.CoreML/weights")
PREPROCESS_KEY, INPUT_NAME = "preprocessing", "image"
SENTINEL = b"\xef\xbe\xad\xde"
BLOB_HEADER = 64


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

    Raises `UserError` where the file is missing, damaged or no ML program of one function.
    """
    path = Path(path)
    spec = read_spec(path)
    try:
        with quiet():
            from coremltools.converters.mil.frontend.milproto.load import load as load_mil

            folder = str(model_path(path).parent / WEIGHTS_FOLDER.name)
            program = load_mil(spec, spec.specificationVersion, file_weights_dir=folder)
    except Exception as error:
        # The file is whole: what coremltools' type checks make of it is their limit.
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not supported: coremltools can't load it ({detail})") from None
    if len(program.functions) != 1:
        raise UserError(f"{path}: not supported: {len(program.functions)} functions; give one")
    (function,) = program.functions.values()
    return Package(path, spec, tuple(function.operations))


def model_path(path: Path) -> Path:
    """The specification within a package, as its manifest names it."""
    found = path / MODEL_PATH
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        return found
    try:
        items = json.loads(manifest.read_text("utf-8"))
        entry = items["itemInfoEntries"][items["rootModelIdentifier"]]["path"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(f"{path}: damaged: Manifest.json names no model; export it again") from None
    if not isinstance(entry, str) or ".." in Path(entry).parts or "\0" in entry:
        raise UserError(f"{path}: damaged: Manifest.json names {entry!r}; export it again")
    return path / "Data" / entry


def read_spec(path: Path) -> Any:
    """The `Model` protobuf of a package with an ML program, its weights' blobs checked.

    Raises `UserError` where the file is missing, damaged or of another kind.
    """
    model = model_path(path)
    if not model.is_file():
        raise UserError(f"{path}: not a Core ML package ({model.relative_to(path)} is missing)")
    from google.protobuf.message import DecodeError

    spec = model_type()()
    try:
        spec.ParseFromString(model.read_bytes())
        kind = spec.WhichOneof("Type")
        if kind is None:
            raise DamagedError(f"{model.name} says nothing of what it is")
        if kind != "mlProgram":
            raise UnsupportedError(f"a model of kind {kind}, not mlProgram (iOS 15 and later)")
        _check_weights(model.parent / WEIGHTS_FOLDER.name, spec)
    except UnsupportedError as error:
        raise UserError(f"{path}: not supported: {error}") from None
    except (DecodeError, DamagedError, OSError) as error:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{path}: damaged Core ML package ({detail}); export it again") from None
    return spec


def operations(block: Any) -> Iterator[Any]:
    """The operations of a block and of the blocks within, each before those within it."""
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from operations(inner)


def blocks(function: Any) -> list[Any]:
    """The one body of a function: it has a block per operation set, of which one is used."""
    found = function.block_specializations
    return [found[function.opset]] if function.opset in found else list(found.values())[:1]


def _check_weights(folder: Path, spec: Any) -> None:
    """The weight file holds every blob that the program points at, whole.

    Each blob has a 64-byte header: sentinel 0xDEADBEEF, dtype, size and offset of its data. The
    C++ reader trusts those, so they are checked first.
    """
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            for op in operations(block):
                values = [*op.attributes.values()]
                values += [b.value for a in op.inputs.values() for b in a.arguments]
                for value in values:
                    if value.WhichOneof("value") == "blobFileValue":
                        blob_place(folder, value)


def blob_place(folder: Path, value: Any) -> tuple[Path, int, int]:
    """(file, offset, size) of the data of a value in a weight file; `DamagedError` if not there."""
    blob = value.blobFileValue
    file = folder / blob.fileName.split("/")[-1].replace("\0", "")
    if not file.is_file():
        raise DamagedError(f"weights/{file.name} is missing")
    with file.open("rb") as data:
        data.seek(min(blob.offset, 1 << 62))
        header = data.read(BLOB_HEADER)
    if len(header) < BLOB_HEADER or header[:4] != SENTINEL:
        raise DamagedError(f"{file.name} holds no blob at {blob.offset}")
    size, offset = (int(v) for v in np.frombuffer(header[8:24], "<u8"))
    if offset + size > file.stat().st_size:
        raise DamagedError(f"{file.name} is cut short")
    return file, offset, size


def constant(var: Any) -> np.ndarray | None:
    """Value of a MIL variable that is known from the file alone, else None."""
    op = getattr(var, "op", None)
    if op is not None and op.op_type == "constexpr_affine_dequantize":
        return np.asarray(op.materialized_val_inference())
    if getattr(var, "val", None) is None:
        return None
    return np.asarray(var.val)


def attribute(op: Any, name: str, default: Any = None) -> Any:
    """The value of an op's input that is known from the file alone, `default` where it isn't."""
    var = op.inputs.get(name)
    return default if var is None or var.val is None else var.val


def scale_and_zero(op: Any) -> tuple[float, float]:
    """Scale and zero point of a per-tensor quantize or dequantize."""
    return float(op.inputs["scale"].val), float(attribute(op, "zero_point", 0))


def quantization(op: Any) -> tuple[tuple[float, ...], tuple[int, ...], int | None]:
    """(scales, zero points, axis) of a quantize, dequantize or constexpr_affine_dequantize."""
    scale = np.atleast_1d(np.asarray(op.inputs["scale"].val, np.float64))
    zero = np.atleast_1d(np.asarray(attribute(op, "zero_point", 0)))
    zero = np.broadcast_to(zero.astype(np.int64), scale.shape)
    axis = attribute(op, "axis") if scale.size > 1 else None
    return tuple(scale.tolist()), tuple(zero.tolist()), None if axis is None else int(axis)
