"""Whether weights fit a variant: the names, the shapes, the kinds of values."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilemod.errors import UserError
from mobilemod.networks.family import Variant
from mobilemod.networks.reading.sets import NAMED_AT_MOST, is_counter, listed
from mobilemod.networks.registry import (
    at_size,
    build,
    family_of,
    get_variant,
    load_family,
    variants,
)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LOOKS_LIKE_SHARE = 0.5
SHAPES = dict[str, tuple[int, ...]]


@functools.cache
def expected_shapes(variant: Variant, num_classes: int) -> SHAPES:
    """The name and shape of every parameter and statistic, in the network's order."""
    with torch.device("meta"):  # no start values, which would move the caller's seed
        model = build(variant, num_classes)
    tensors = model.state_dict()
    return {name: tuple(t.shape) for name, t in tensors.items() if not is_counter(name)}


def at_size_of(state: Mapping[str, Any], variant: Variant) -> Variant:
    """`variant` for the size of images that the weights are for."""
    return at_size(variant, family_of(variant).size_of(state))


def identify(state: Mapping[str, Any]) -> str | None:
    """The known variant with the most in common, of any family, or None."""
    return resemblance(state)[0]


def resemblance(state: Mapping[str, Any]) -> tuple[str | None, float]:
    """The known variant with the most in common, of any family, and how much it is.

    In common: the share of equal (name, shape) pairs among all of both (the Jaccard index), the
    head apart, which depends on the classes only. None where under a half of the variant's own
    pairs are there: what else stands beside them tells nothing.
    """
    best, best_share = None, 0.0
    for name in variants():
        family = family_of(name)
        adapted = family.adapt(state)
        shapes = expected_shapes(at_size_of(adapted, get_variant(name)), 1000)
        head = f"{family.head}."
        found = {
            (k, tuple(v.shape))
            for k, v in adapted.items()
            if isinstance(v, Tensor) and not k.startswith(head) and not is_counter(k)
        }
        expected = {(k, v) for k, v in shapes.items() if not k.startswith(head)}
        common = len(found & expected)
        share = common / len(found | expected)
        if common >= LOOKS_LIKE_SHARE * len(expected) and share >= best_share:
            best, best_share = name, share
    return best, best_share


def check_fit(path: Path, state: Mapping[str, Tensor], variant: Variant, classes: int) -> None:
    if classes < 1:
        raise UserError(f"{path}: its head has no classes; give another checkpoint")
    expected = expected_shapes(at_size_of(state, variant), classes)
    problems = misfits(state, expected)
    extra = tuple(name for name in state if name not in expected)
    if not problems and not extra:
        return
    family = family_of(variant)
    if not problems:
        why = "if they are no part of the network, save its state dict without them"
        why = family.unread.get(extra[0].rpartition(".")[2], why)
        raise UserError(
            f"{path} holds all of {variant.name} and {len(extra)} names more "
            f"({listed(extra)}); {why}"
        )
    head = state.get(f"{family.head}.weight")
    if (
        head is not None
        and head.ndim >= 2
        and not extra
        and not lacking(state, variant, head.shape[0])
    ):
        raise UserError(
            f"{path} doesn't fit {variant.name} with {classes} classes: its head has "
            f"{head.shape[0]}; ask for num_classes={head.shape[0]} ({', '.join(problems)})"
        )
    problems += [f"{name} unexpected" for name in extra]
    looks = identify(state)
    fix = "give another checkpoint"
    if looks not in (None, variant.name):
        fix = f"ask for {looks}"
    elif looks is not None:
        fix = f"save the whole model.state_dict() of {variant.name}"
    raise UserError(
        f"{path} doesn't fit {variant.name}: it looks like {looks or 'none of the known variants'};"
        f" {summed(problems)}; {fix}"
    )


def misfits(state: Mapping[str, Any], expected: SHAPES) -> list[str]:
    """What `state` lacks of the expected names or has in another shape, in words."""
    found = []
    for name, shape in expected.items():
        if not isinstance(state.get(name), Tensor):
            found.append(f"{name} missing")
        elif tuple(state[name].shape) != shape:
            found.append(f"{name} has shape {_shape(state[name].shape)}, not {_shape(shape)}")
    return found


def summed(problems: list[str]) -> str:
    """The first of them, and how many there are."""
    count = f"{len(problems)} names missing, unexpected or of a wrong shape in all"
    return f"{', '.join(problems[:NAMED_AT_MOST])}; {count}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def number_of_classes(state: Mapping[str, Any], variant: Variant, num_classes: int | None) -> int:
    """The number of classes asked for, else that of the head."""
    head = state.get(f"{family_of(variant).head}.weight")
    if num_classes is None:
        return head.shape[0] if isinstance(head, Tensor) and head.ndim >= 2 else 1000
    return num_classes


def lacking(state: Mapping[str, Any], variant: Variant, num_classes: int | None) -> int:
    """How many names of `variant` it lacks or has in another shape."""
    classes = number_of_classes(state, variant, num_classes)
    return len(misfits(state, expected_shapes(at_size_of(state, variant), classes)))


def check_dense(path: Path, tensors: Mapping[str, Any], known: Collection[str]) -> None:
    """`UserError` for what is no tensor, and for one of the names `known` that is no float."""
    for name, value in tensors.items():
        problem = ""
        if not isinstance(value, Tensor) or (value.layout != torch.strided and name in known):
            kind = type(value).__name__
            kind = f"{value.layout} tensor" if isinstance(value, Tensor) else kind
            problem = f"is a {kind}, not a dense tensor; save model.state_dict() with torch.save"
        elif name not in known:
            continue
        elif value.is_meta:
            problem = "is on the meta device, without values; save the weights where they are"
        elif value.dtype not in FLOATS:
            problem = (
                f"is {value.dtype}, not a float tensor; give the float checkpoint, "
                "before any quantization"
            )
        if problem:
            raise UserError(f"checkpoint {path}: {name!r} {problem}")


def parameter_names(module: str | None) -> set[str]:
    """Of all variants of the family in `module`, of every family without it."""
    chosen = [name for name, family in variants().items() if module in (None, family)]
    return {p for name in chosen for p in expected_shapes(get_variant(name), 1000)}


def beginnings(module: str) -> str:
    """The pattern of what names of parameters in the family of `module` begin with."""
    if names := load_family(module).names:
        return names
    first = dict.fromkeys(name.partition(".")[0] for name in sorted(parameter_names(module)))
    return "|".join(rf"{re.escape(part)}\." for part in first)
