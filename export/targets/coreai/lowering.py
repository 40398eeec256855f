"""Core AI: a mobile form or its quantized program as an `.aimodel`, by coreai-torch.

The file takes float32 (1, C, H, W), normalized, and gives float32 logits (1, K). Every quantize and
dequantize of the program is one op of the file, with the table's own scale; weights are int8 codes.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.quiet import quiet
from export.targets.base import ModelInfo
from export.targets.coreai.reader import (
    CONV,
    LABELS,
    METADATA,
    OWN,
    PRECISION,
    PREPROCESS,
    PROGRAM,
    QUANTIZE,
    TENSORS,
    Constants,
    op_id,
    operations,
    read_metadata,
)
from export.targets.coreai.toolkit import package
from mobilemod.files import atomic_folder
from mobilemod.targets.coreai import FACTS

INPUT_NAME, OUTPUT_NAME, FUNCTION = "image", "logits", "main"
DIALECT = "quantized_decomposed"
HASH = "main.hash"


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write `module` as `.aimodel`, for iOS and macOS 27.

    int8: `module` is a quantized program with folded weights; a float one may hold float16 weights,
    and computes in them then. The converter names its functions and
    blobs by chance: two files of one program compute the same and differ in bytes.
    """
    coreai_torch = package("coreai_torch")
    sample = (torch.zeros(1, *info.preprocess.shape),)
    with torch.no_grad(), quiet():
        program = torch.export.export(module.eval(), sample)
        program = program.run_decompositions(coreai_torch.get_decomp_table())
        converter = coreai_torch.TorchConverter(mode=coreai_torch.TorchConverter.Mode.RELEASE)
        for name in ("quantize", "dequantize"):
            for kind in ("per_tensor", "per_channel"):
                register = converter.register_torch_lowering(f"{DIALECT}::{name}_{kind}.default")
                register(functools.partial(_codes, name))
        converter.add_exported_program(
            program, input_names=[INPUT_NAME], output_names=[OUTPUT_NAME], entrypoint_name=FUNCTION
        )
        converted = converter.to_coreai()
        with atomic_folder(path) as folder:
            made = folder / f"model{FACTS.suffix}"
            converted.save_asset(made)
            names = _tensor_names(module, program, converted)
            _write(folder, made, info, names, _precision(module, int8))


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the model at `source` to `path` with other labels and name: the same program."""
    del int8  # the model says it
    own = read_metadata(source)
    with atomic_folder(path) as folder:
        _write(folder, source, info, own[TENSORS], own[PRECISION])


def _precision(module: nn.Module, int8: bool) -> str:
    half = any(v.dtype == torch.float16 for v in module.state_dict().values())
    return "int8" if int8 else "float16" if half else FACTS.twin


def _codes(name: str, values: dict[str, Any], node: torch.fx.Node, location: Any) -> Any:
    """The op of Core AI that a quantize or dequantize of the program is."""
    coreai = package("coreai._compiler.dialects.coreai")

    def stored(value: Any, dtype: type) -> Any:
        return coreai.constant(np.array(value, dtype), loc=location)

    x, scale, zero = node.args[:3]
    if isinstance(scale, torch.fx.Node):
        shape, axis = tuple(scale.meta["val"].shape), node.args[3]
        # Weights alone are per channel, and symmetric.
        scales, zeros = values[scale.name], stored(np.zeros(shape), np.int8)
        offset = stored(np.zeros(shape), np.float32)
    else:
        axis, scales, zeros = 0, stored(scale, np.float32), stored(zero, np.int8)
        offset = stored(0, np.float32)
    op = getattr(coreai, name)
    return op(values[x.name], scales, zeros, offset, stored(axis, np.int32), loc=location)


def _tensor_names(
    module: nn.Module, program: torch.export.ExportedProgram, converted: Any
) -> dict[str, str]:
    """Number of an op of the file -> our name of what it makes: codes of activations, and what
    convolutions read as weight, whose names stand at the convolution."""
    found: dict[str, str] = {}
    ops, constants = operations(converted), Constants(converted)
    for kinds, op_kind in ((("quantize_per_tensor",), QUANTIZE), (("convolution",), CONV)):
        ours = [
            n for n in program.graph.nodes
            if n.op == "call_function" and n.target.__name__.partition(".")[0] in kinds
        ]  # fmt: skip
        rest = iter(ours)
        for op in (o for o in ops if o.name == op_kind):
            # Two of one tensor are one in the file: those that it dropped are passed.
            node = next((n for n in rest if _same(n, op, constants)), None)
            if node is not None:
                found[op_id(op)] = _tensor(module, node)
    return found


def _same(node: torch.fx.Node, op: Any, constants: Constants) -> bool:
    if tuple(node.meta["val"].shape) != tuple(op.results[0].type.shape):
        return False
    if op.name != QUANTIZE:
        return True
    scale, zero = map(constants, list(op.operands)[1:3])
    return scale == np.float32(node.args[1]) and zero == node.args[2]


def _tensor(module: nn.Module, node: torch.fx.Node) -> str:
    """The name that the module has which a node is of, "" for none."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return getattr(module.get_submodule(path), "tensor", "")


def _write(
    folder: Path, source: Path, info: ModelInfo, names: dict[str, str], precision: str
) -> None:
    """The asset in `folder`: the program of the one at `source`, and what it says of itself."""
    for name in (PROGRAM, HASH):
        (folder / name).write_bytes((source / name).read_bytes())
    taken = info.preprocess
    held = "int8 weights and activations" if precision == "int8" else precision
    values = json.loads((source / METADATA).read_text("utf-8"))
    values = {k: values[k] for k in ("assetVersion", "producer")} | {
        "author": info.origin.author,
        "license": info.origin.license,
        "description": f"{info.name}: {info.kind}, {taken.pixels_text} pixels, {held}",
        OWN: {
            "version": info.origin.version,
            PRECISION: precision,
            LABELS: list(info.labels),
            PREPROCESS: taken.to_dict(),
            TENSORS: names,
        },
    }
    text = json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True)
    if source.parent == folder:
        for file in source.iterdir():
            file.unlink()
        source.rmdir()
    (folder / METADATA).write_text(text + "\n", "utf-8")
