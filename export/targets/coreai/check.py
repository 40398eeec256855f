"""An `.aimodel` beside the program it came from: what it stores, then what it computes.

Outputs alone don't tell one wrong scale among many from roundings that fall otherwise; stored
values are compared for equality.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from export.targets.comparison import Parting, compare_outputs, outputs
from export.targets.coreai.graph import stored_codes
from export.targets.coreai.reader import (
    CONSTANT,
    QUANTIZE,
    Asset,
    body,
    op_id,
    open_asset,
    tensor_type,
)
from export.targets.coreai.running import load
from mobilemod.evaluation.agreement import sqnr_db
from quantization.program import QuantizedConv2d, QuantizeDequantize

# Of a float16 file's outputs beside the float32 network's: int8 files reach 31 to 38 dB.
HALF_DB = 40.0


def check_file(path: Path, program: nn.Module, images: np.ndarray) -> None:
    """`Parting` where a scale, a zero point, a weight or a bias of the file isn't the program's, or
    its outputs aren't, as `compare_outputs` tells, and of a float16 file HALF_DB."""
    asset = open_asset(path)
    how = stored_difference(asset, program)
    if how:
        raise Parting(path, how)
    found = load(path).run_many(images)
    if not holds_half(asset):
        compare_outputs(path, program, images, found)
    elif not (decibel := sqnr_db(outputs(program, images), found)) >= HALF_DB:
        raise Parting(path, f"SQNR {decibel:.1f} dB in float16, {HALF_DB:.0f} dB wanted")


def holds_half(asset: Asset) -> bool:
    """Whether a file computes in float16."""
    return any(tensor_type(op.results[0])[1] == "float16" for op in body(asset.graph) if op.results)


def stored_difference(asset: Asset, program: nn.Module) -> str | None:
    """The first stored value that isn't the program's, in words; None where all are."""
    modules = list(program.modules())
    own = {m.tensor: _parameters(m.args[0], m.args[1])
           for m in modules if isinstance(m, QuantizeDequantize)}  # fmt: skip
    for op in (o for o in body(asset.graph) if o.name == QUANTIZE):
        name = asset.tensors.get(op_id(op), "")
        scale, zero = _parameters(*map(asset.constant, list(op.operands)[1:3]))
        if name not in own:
            return f"a quantize of scale {scale:g} stands nowhere in the program"
        if own[name] != (scale, zero):
            return (
                f"{name} has scale {scale:g}, zero point {zero} in the file, {own[name][0]:g} and "
                f"{own[name][1]} in the program"
            )
    codes = {_stored(c, s) for c, s in stored_codes(asset)}
    stored = (asset.constant(o.results[0]) for o in body(asset.graph) if o.name == CONSTANT)
    kept = {v.tobytes() for v in stored if v is not None and v.dtype == np.float32}
    for conv in (m for m in modules if isinstance(m, QuantizedConv2d)):
        if _stored(conv.weight.numpy(), tuple(conv.scales.tolist())) not in codes:
            return f"{conv.tensor}: the file doesn't hold its codes and scales"
        if conv.bias is not None and conv.bias.detach().numpy().tobytes() not in kept:
            return f"{conv.tensor}: the file doesn't hold the bias beside it"
    return None


def _parameters(scale: float | np.ndarray, zero_point: int | np.ndarray) -> tuple[float, int]:
    return float(np.float32(scale)), int(zero_point)


def _stored(codes: np.ndarray, scales: tuple[float, ...]) -> tuple[bytes, bytes]:
    return np.int8(codes).tobytes(), np.float32(scales).tobytes()
