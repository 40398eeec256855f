"""The conversion of a module to an ML program, and the package that holds one on disk."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from export.targets.coreml.reader import MODEL_PATH, WEIGHTS_FOLDER, open_package, quantization
from mobilemod.errors import UserError

REMOVED_PASSES = (
    # It turns a constant multiply and add into a batch norm with eps 1e-5: 20 dB lost.
    "common::fuse_elementwise_to_batchnorm",
    # It quantizes the operands and the result of an int8 add or subtraction with scales of its own.
    "common::distributive_quantized_binary_op_scale_normalization",
    # It turns int8 with zero point -128 into uint8 with 0: the same codes under another name.
    "common::nullify_redundant_quantization_zero_point",
)
NAMESPACE = uuid.UUID("6c1f7b54-9b0d-5c65-8f1e-2a0f4f0f7a11")


def convert(module: nn.Module, shape: tuple[int, ...], **edges: Any) -> Any:
    """coremltools' model of `module`, whose input is float32 of `shape`: an ML program for iOS 17
    in float16, of the ops that the module has.

    edges: what `coremltools.convert` is told of its inputs and outputs.
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder

    _register_gelu()
    # Names of the program's tensors carry a count that goes on from one conversion to the next.
    Builder.name_count.clear()
    with torch.no_grad():
        exported = torch.export.export(module, (torch.zeros(shape),)).run_decompositions({})
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(set(REMOVED_PASSES))
    return ct.convert(
        exported,
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT16,
        pass_pipeline=passes,
        skip_model_load=True,
        **edges,
    )


@functools.cache
def _register_gelu() -> None:
    """Both kinds of GELU: coremltools 9.0 overlooks which one is meant where it is said by name, as
    `torch.export` does, and makes the exact one of each."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    @register_torch_op(override=True)
    def gelu(context: Any, node: Any) -> None:
        (approximate,) = (node.kwinputs or {}).get("approximate", ("none",))
        mode = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}[approximate]
        context.add(Builder.gelu(x=context[node.inputs[0]], mode=mode, name=node.name))


def write_package(spec: Any, weights: Path, folder: Path, int8: bool) -> None:
    """Write a program and a copy of its `weights` folder into the package `folder`, which is there.

    The same program gives the same bytes. `UserError` for an int8 scale that float16 can't hold.
    """
    # The conversion's date would change the bytes.
    spec.description.metadata.userDefined.pop("com.github.apple.coremltools.conversion_date", None)
    shutil.copytree(weights, folder / WEIGHTS_FOLDER)
    (folder / MODEL_PATH).write_bytes(spec.SerializeToString(deterministic=True))
    _write_manifest(folder)
    if int8:
        _check_scales(folder)


def _write_manifest(folder: Path) -> None:
    """The package's table of contents; its identifiers come from the contents."""
    entries, root = {}, ""
    for part, kind in ((MODEL_PATH, "Specification"), (WEIGHTS_FOLDER, "Weights")):
        h = hashlib.sha256(part.name.encode())
        files = [folder / part] if (folder / part).is_file() else sorted((folder / part).iterdir())
        for file in files:
            h.update(file.read_bytes())
        key = str(uuid.uuid5(NAMESPACE, h.hexdigest())).upper()
        entries[key] = {
            "author": "com.apple.CoreML",
            "description": f"CoreML Model {kind}",
            "name": part.name,
            "path": part.relative_to("Data").as_posix(),
        }
        root = root or key
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": root,
    }
    # In the order in which coremltools writes it again whenever it opens the package.
    text = json.dumps(manifest, indent=4, sort_keys=True)
    (folder / "Manifest.json").write_text(text + "\n", "utf-8")


def _check_scales(folder: Path) -> None:
    for op in open_package(folder).operations:
        if op.op_type in ("quantize", "dequantize", "constexpr_affine_dequantize"):
            scales = quantization(op)[0]
            if not all(np.isfinite(s) and s > 0 for s in scales):
                raise UserError(
                    f"Core ML: the scale of {op.name} doesn't fit float16 ({min(scales):g}); "
                    f"leave that tensor float in the recipe"
                )
