"""The record of a sensitivity run, `mobilemod/sensitivity/1` (docs/schemas.md)."""

from __future__ import annotations

import math
from typing import Any

from mobilemod.tasks.task import Task
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN, ParameterTable
from quantization.sensitivity.effects import CodeUse, Effect, Finding, Sensitivity
from quantization.sensitivity.program import FIRST_CODE

SCHEMA = "mobilemod/sensitivity/1"
HISTOGRAMS = 8


def make_record(
    found: Sensitivity, table: ParameterTable, by: str, about: dict[str, Any], task: Task
) -> dict[str, Any]:
    """JSON-ready; items worst first. about: the keys that say what was measured on what."""
    ranked, key = found.worst_alone(), task.agreement.effect_key
    left = {f.item.name: i for i, f in enumerate(found.worst_left_float(), 1)}
    order = {f.item.name: i for i, f in enumerate(found.findings)}
    return {
        "schema": SCHEMA,
        **about,
        "form": table.form,
        "recipe": table.recipe,
        "by": by,
        "targets": task.truths if found.labelled else f"float {task.metric.name}",
        "float_loss": found.float_loss,
        "quantized": _effect(found.quantized, key),
        "gain_noise_db": found.gain_noise_db,
        "items": [
            {
                "name": f.item.name,
                "kind": f.item.kind,
                "tensors": list(f.item.tensors),
                "order": order[f.item.name],
                "rank_alone": rank,
                "rank_left_float": left[f.item.name],
                "alone": _effect(f.alone, key),
                "left_float": {**_effect(f.left_float, key), "gain_db": number(f.gain_db)},
                "activations": [_use(name, use) for name, use in f.codes.items()],
            }
            for rank, f in enumerate(ranked, 1)
        ],
        "histograms": _histograms(ranked, table),
    }


def _effect(e: Effect, agreement: str) -> dict[str, Any]:
    return {
        "sqnr_db": number(e.sqnr_db),
        "identical": e.sqnr_db == math.inf,
        "loss_change": number(e.loss_change),
        "kl": number(e.kl),
        agreement: e.agreement,
    }


def _use(name: str, use: CodeUse) -> dict[str, Any]:
    return {
        "tensor": name,
        "sqnr_db": number(use.sqnr_db),
        "clipped_share": use.clipped_share,
        "used_codes": use.used_codes,
    }


def _histograms(ranked: list[Finding], table: ParameterTable) -> list[dict[str, Any]]:
    """Of the worst items with activations, the activation that fits its range least."""
    shown = []
    for finding in [f for f in ranked if f.codes][:HISTOGRAMS]:
        name, use = min(finding.codes.items(), key=lambda pair: pair[1].sqnr_db)
        entry = table.entries[name]
        scale, zero = entry.scale[0], entry.zero_point[0]
        shown.append(
            {
                "item": finding.item.name,
                **_use(name, use),
                "scale": scale,
                "zero_point": zero,
                "low": scale * (ACTIVATION_MIN - zero),
                "high": scale * (ACTIVATION_MAX - zero),
                "first_code": FIRST_CODE,
                "counts": use.counts.tolist(),
            }
        )
    return shown


def number(value: float) -> float | None:
    """`value` as JSON has it: None where it isn't finite."""
    return value if math.isfinite(value) else None
