"""Why two files part at a tensor although they are given the same input: a parameter, the
structure, an approximation, or rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.diff.named import NamedTaps, TappedTensor
from export.diff.parameters import ParameterDifference
from export.diff.rules import calls_of, exact, inputs_of
from export.diff.taps_names import MOVES
from export.graph import CONV, DEPTHWISE, DEQUANTIZE, QUANTIZE
from mobilemod.evaluation.agreement import sqnr_db

PARAMETER, STRUCTURE, APPROXIMATION = "parameter", "structure", "approximation"
ROUNDING, PRECISION, INHERITED = "rounding", "precision", "inherited"
NEAR_MIDDLE = 1e-4


@dataclass(frozen=True)
class Cause:
    """kind: one of the constants above; text: for people; figures: what it rests on."""

    kind: str
    text: str
    figures: dict[str, Any]


def op_kind(named: NamedTaps, name: str, known: set[str]) -> str:
    """The ops that make `name` from the tensors `known`, in words: "depthwise + add"."""
    kinds = []
    for call in calls_of(named, name, known):
        if call.op not in (QUANTIZE, DEQUANTIZE, *MOVES):
            kinds.append(DEPTHWISE if call.op == CONV and call.args[8] > 1 else call.op)
    if "rsqrt" in kinds and len(kinds) > 3:
        return "norm"
    return " + ".join(dict.fromkeys(kinds)) or QUANTIZE


def find_cause(
    a: NamedTaps,
    b: NamedTaps,
    name: str,
    x: np.ndarray,
    values: Mapping[str, TappedTensor],
    forced: TappedTensor,
    parameter: list[ParameterDifference],
) -> Cause:
    """Why `b`'s `name`, `forced`, is not `a`'s although computed from `a`'s values.

    values: `a`'s tensors that both have; parameter: what differs in what makes `name`.
    """
    own, known = values[name], set(values)
    if (own.scale is None) != (forced.scale is None):
        codes = a.label if own.scale is not None else b.label
        return Cause(PRECISION, f"{codes} holds it as codes, the other as real values", {})
    if parameter:
        text = "; ".join(f"{p.parameter}: {p.text}" for p in parameter)
        kind = APPROXIMATION if all("GELU" in p.parameter for p in parameter) else PARAMETER
        return Cause(kind, f"{text} ({a.label} / {b.label})", {})
    sides = [
        _Side(n, name, x, {i: values[i] for i in inputs_of(n, name, known)}, t)
        for n, t in ((a, own), (b, forced))
    ]
    if own.scale is None:
        return _real_rounding(sides)
    extra = [_codes_between(side.named, name, known) for side in sides]
    cause = _code_rounding(sides)
    explained, differing = (cause.figures[k] for k in ("exact_results_differ", "differing"))
    if set(extra[0]) == set(extra[1]) or 2 * explained < differing:
        return cause
    return _structure(sides, extra, cause.figures)


class _Side:
    """What one file makes of a tensor's input, `held`, beside the exact result."""

    def __init__(
        self,
        named: NamedTaps,
        name: str,
        x: np.ndarray,
        inputs: Mapping[str, TappedTensor],
        held: TappedTensor,
    ) -> None:
        self.named, self.held = named, held
        self.codes = held.values.astype(np.float64)
        self.exact = exact(named, name, x, inputs)
        self.unrounded = exact(named, name, x, inputs, rounded=False)


def _real_rounding(sides: list[_Side]) -> Cause:
    figures, parts = {}, []
    for key, side in zip("ab", sides, strict=True):
        held, result = (v.reshape(1, -1) for v in (side.held.real, side.exact.values))
        decibel = sqnr_db(result, held)
        figures[f"{key}_exact_db"] = decibel if math.isfinite(decibel) else None
        far = "exact" if decibel == math.inf else f"{decibel:.0f} dB from the exact result"
        parts.append(f"{side.named.label} is {far}")
    rules = [_rule(s) for s in sides if s.named.half]
    rule = rules[0] if rules else "float32 sums in another order"
    return Cause(ROUNDING, f"{', '.join(parts)}: {rule}", figures)


def _code_rounding(sides: list[_Side]) -> Cause:
    one, other = sides
    differ = one.codes != other.codes
    explained = int((differ & (one.exact.codes() != other.exact.codes())).sum())
    middle = np.minimum(one.exact.to_middle(), other.exact.to_middle())[differ]
    figures: dict[str, Any] = {
        "codes": int(differ.size),
        "differing": int(differ.sum()),
        "exact_results_differ": explained,
        "farthest_from_middle": float(middle.max(initial=0.0)),
    }
    parts = []
    for key, side in zip("ab", sides, strict=True):
        off = int((side.codes != side.exact.codes()).sum())
        past = float(side.exact.past_middle(side.codes).max())
        figures |= {f"{key}_not_nearest": off, f"{key}_past_middle": past}
        nearest = "has the nearest code everywhere"
        if off:
            nearest = f"misses the nearest code {off} times, by {past:.2g} step"
        parts.append(f"{side.named.label} {nearest}")
    if middle.max(initial=0.0) < NEAR_MIDDLE:
        parts.append(f"all within {middle.max():.1g} step of the middle between two codes")
    elif explained:
        parts.append(f"parameters as stored explain {explained} of {int(differ.sum())} codes")
    rule = "; ".join(dict.fromkeys(map(_rule, sides)))
    return Cause(ROUNDING, f"{'; '.join(parts)}: {rule}", figures)


def _rule(side: _Side) -> str:
    """How one file computes, in words."""
    facts = side.named.taps.graph.facts
    half = side.named.half and not side.named.int8
    return f"{side.named.label} {(half and facts.half_arithmetic) or facts.arithmetic}"


def _structure(sides: list[_Side], extra: list[list[str]], figures: dict[str, Any]) -> Cause:
    """One file has tensors in int8 on the way that the other has not."""
    one, other = sides if extra[0] else sides[::-1]
    names = extra[0] or extra[1]
    weights = int((one.unrounded.codes() != other.exact.codes()).sum())
    text = (
        f"{one.named.label} has {len(names)} tensors on the way in int8, {other.named.label} none: "
        f"{', '.join(names)}; this explains {figures['exact_results_differ']} of "
        f"{figures['differing']} codes, the scales that their weights have of their own {weights}"
    )
    return Cause(STRUCTURE, text, figures | {"between": names, "own_weight_scales": weights})


def _codes_between(named: NamedTaps, name: str, known: set[str]) -> list[str]:
    """The tensors that become codes between the tensors `known` and `name`."""
    made = {call.output for call in calls_of(named, name, known) if call.op == QUANTIZE}
    return [n for n in named.names if n != name and named.program.names[n] in made]


def inherited(
    a: NamedTaps,
    b: NamedTaps,
    name: str,
    x: np.ndarray,
    values: Mapping[str, TappedTensor],
    others: Mapping[str, TappedTensor],
) -> Cause:
    """Why `name` differs where its op makes the same of the same input: its input does."""
    sources = inputs_of(a, name, set(values))
    texts = []
    for source in sources:
        decibel = sqnr_db(values[source].real.reshape(1, -1), others[source].real.reshape(1, -1))
        if decibel < math.inf:
            texts.append(f"{source} by {decibel:.0f} dB")
    text = f"the op is the same, its input differs: {', '.join(texts)}"
    figures: dict[str, Any] = {"inputs": sources}
    own, other = values[name], others[name]
    if own.scale is not None and other.scale is not None:
        result = exact(a, name, x, {n: values[n] for n in sources})
        differ = own.values != other.values
        far = float(result.to_middle()[differ].max(initial=0.0))
        figures |= {"differing": int(differ.sum()), "farthest_from_middle": far}
        count = f"{int(differ.sum())} code{'s'[: int(differ.sum()) != 1]}"
        text += f"; {count}, within {far:.1g} step of the middle between two"
    return Cause(INHERITED, text, figures)
