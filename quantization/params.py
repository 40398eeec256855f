"""The parameter table: one scale and zero point per tensor, for every runtime."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.files import write_text

SCHEMA = "mobilemod/parameters/1"
ACTIVATION_MIN, ACTIVATION_MAX = -128, 127
# Weights leave -128 out: the runtimes' integer kernels assume symmetric weights.
WEIGHT_MIN, WEIGHT_MAX = -127, 127
# 16-bit codes are symmetric, as TFLite's specification demands them.
WIDE_MIN, WIDE_MAX = -32768, 32767
# Of the scale of int8 codes: 16-bit codes in these steps hold every code less its zero point.
WIDENED = 2.0**-7
# The smallest scale that float16 holds as a normal number: Core ML stores scales as float16.
MIN_SCALE = 2.0**-14
# float16's smallest number: below MIN_SCALE it holds the multiples of it alone.
FLOAT16_STEP = 2.0**-24
# The smallest scale of weights: being a multiple costs it a sixteenth of a step at the most.
MIN_WEIGHT_SCALE = 16 * FLOAT16_STEP
# XNNPACK adds int8 tensors whose scale is at least 2^-10 of the result's (its binary elementwise
# operator refuses others); half a bit is left for rounding.
MIN_SUMMAND = 2.0**-9
# TFLite adds 16-bit tensors whose scale is at most 2^13 times the result's (its kernel ends the
# process otherwise), and the least scale of an operand is that of int8 codes, widened.
MIN_WIDE_SUM = 2.0**-13
MIN_WIDE_SCALE = MIN_SCALE * WIDENED * MIN_WIDE_SUM


@dataclass(frozen=True)
class TensorParams:
    """Parameters of one tensor's codes; real = scale * (code - zero_point).

    kind: "activation", "weight" or "constant". dtype: "int8" or "int16", of weights "int8". axis:
    the channel axis of a per-channel tensor, None per tensor. low, high: the range observed, or
    the extremes of a weight. source: the tensor that this one shares its parameters with. note:
    what a runtime forces.
    """

    tensor: str
    kind: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None
    low: float
    high: float
    dtype: str = "int8"
    quant_min: int = ACTIVATION_MIN
    quant_max: int = ACTIVATION_MAX
    source: str | None = None
    note: str = ""


@dataclass(frozen=True)
class ParameterTable:
    """All tensors of codes under a recipe, for one mobile form; keyed by tensor name."""

    form: str
    recipe: str
    entries: dict[str, TensorParams]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        entries = [dataclasses.asdict(e) for e in self.entries.values()]
        return {"schema": SCHEMA, "form": self.form, "recipe": self.recipe, "tensors": entries}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ParameterTable:
        """From `to_dict`'s form; `UserError` for another schema."""
        if values.get("schema") != SCHEMA:
            raise UserError(f"parameter table: schema {values.get('schema')!r} is not {SCHEMA!r}")
        entries = {}
        for e in values["tensors"]:
            e = {**e, "scale": tuple(e["scale"]), "zero_point": tuple(e["zero_point"])}
            entries[e["tensor"]] = TensorParams(**e)
        return cls(values["form"], values["recipe"], entries)

    @classmethod
    def load(cls, path: Path) -> ParameterTable:
        """What `save` wrote."""
        return cls.from_dict(json.loads(path.read_text("utf-8")))

    def int8(self) -> ParameterTable:
        """The table without tensors of 16 bits."""
        kept = {name: e for name, e in self.entries.items() if e.dtype == "int8"}
        return dataclasses.replace(self, entries=kept)

    def save(self, path: Path) -> None:
        """Write as JSON, in one rename."""
        write_text(path, json.dumps(self.to_dict(), indent=1))


def activation_params(
    tensor: str, low: float, high: float, source: str | None = None, dtype: str = "int8"
) -> TensorParams:
    """Per-tensor parameters of a range, widened to hold 0: affine int8 or symmetric int16.

    The scale is a float32, so that every file stores it exactly.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if dtype == "int16":
        scale = max(-low, high) / WIDE_MAX
        return _wide(tensor, max(scale, MIN_WIDE_SCALE), low, high, source)
    levels = ACTIVATION_MAX - ACTIVATION_MIN
    scale = float(np.float32(max((high - low) / levels, MIN_SCALE)))
    zero_point = int(np.clip(round(ACTIVATION_MIN - low / scale), ACTIVATION_MIN, ACTIVATION_MAX))
    return TensorParams(
        tensor, "activation", (scale,), (zero_point,), None, low, high, source=source
    )


def _wide(
    tensor: str, scale: float, low: float, high: float, source: str | None, note: str = ""
) -> TensorParams:
    return TensorParams(
        tensor,
        "activation",
        (float(np.float32(scale)),),
        (0,),
        None,
        low,
        high,
        "int16",
        WIDE_MIN,
        WIDE_MAX,
        source,
        note,
    )


def widened_params(tensor: str, entry: TensorParams) -> TensorParams:
    """int16 parameters of `tensor`, which hold the int8 codes of `entry` exactly."""
    return _wide(tensor, entry.scale[0] * WIDENED, entry.low, entry.high, entry.tensor)


def summand_params(entry: TensorParams, result: TensorParams) -> TensorParams:
    """`entry`, an addend of `result`, with a scale that XNNPACK's int8 addition takes.

    Only an addend too small to matter changes: its whole range is under half a step of the result.
    """
    least = float(np.float32(result.scale[0] * MIN_SUMMAND))
    if entry.dtype != "int8" or entry.scale[0] >= least:
        return entry
    zero_point = int(np.clip(round(ACTIVATION_MIN - entry.low / least), ACTIVATION_MIN, 0))
    note = "scale raised to 1/512 of the sum's, which XNNPACK's int8 addition needs"
    return dataclasses.replace(entry, scale=(least,), zero_point=(zero_point,), note=note)


def unit_params(tensor: str, source: str | None = None, dtype: str = "int8") -> TensorParams:
    """Fixed parameters of values from 0 to 1, as TFLite's specification demands them of softmax
    and sigmoid: 1/256, -128; in 16 bits 1/32768, 0. source: as `TensorParams` has it."""
    note = "fixed by TFLite's quantization specification"
    if dtype == "int16":
        return _wide(tensor, 2.0**-15, 0.0, 1.0, source, note)
    return TensorParams(
        tensor,
        "activation",
        (1 / 256,),
        (ACTIVATION_MIN,),
        None,
        0.0,
        1.0,
        source=source,
        note=note,
    )


def weight_scales(least: np.ndarray) -> np.ndarray:
    """The scales of weights, float32, none smaller than `least`: raised where float16, in which
    Core ML holds them, would round a small one by percents of it."""
    scales = np.maximum(least, MIN_WEIGHT_SCALE).astype(np.float32)
    raised = np.ceil(scales / FLOAT16_STEP) * FLOAT16_STEP
    return np.where(scales < MIN_SCALE, raised, scales).astype(np.float32)


def weight_params(tensor: str, weight: np.ndarray) -> TensorParams:
    """Symmetric int8 parameters per output channel (axis 0) of a weight (out, ...)."""
    flat = np.abs(weight.reshape(weight.shape[0], -1)).max(1)
    scales = weight_scales(flat / WEIGHT_MAX)
    return TensorParams(
        tensor,
        "weight",
        tuple(float(s) for s in scales),
        (0,) * len(scales),
        0,
        float(weight.min()),
        float(weight.max()),
        quant_min=WEIGHT_MIN,
        quant_max=WEIGHT_MAX,
    )


def constant_params(tensor: str, value: np.ndarray, dtype: str = "int8") -> TensorParams:
    """Per-tensor parameters of a constant operand."""
    params = activation_params(tensor, float(value.min()), float(value.max()), dtype=dtype)
    return dataclasses.replace(params, kind="constant")
