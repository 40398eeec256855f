"""Whether weights fit a variant: the names, the shapes, the kinds of values."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mobilemod.errors import UserError
from mobilemod.networks.efficientmod import VARIANTS, EfficientMod, Variant

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMED_AT_MOST = 3
LOOKS_LIKE_SHARE = 0.5
SHAPES = dict[str, tuple[int, ...]]


@functools.cache
def expected_shapes(variant: Variant, num_classes: int) -> SHAPES:
    """Every parameter's name and shape, in the network's order."""
    with torch.device("meta"):  # no start values, which would move the caller's seed
        model = EfficientMod(variant, num_classes)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def identify(state: Mapping[str, Any]) -> str | None:
    """The known variant with the most in common, or None.

    In common: the share of equal (name, shape) pairs among all of both (the Jaccard index), the
    head apart, which depends on the classes only. None where under a half of the variant's own
    pairs are there: what else stands beside them tells nothing.
    """
    found = {
        (k, tuple(v.shape))
        for k, v in state.items()
        if isinstance(v, Tensor) and not k.startswith("head.")
    }
    best, best_share = None, 0.0
    for name, variant in VARIANTS.items():
        shapes = expected_shapes(variant, 1000)
        expected = {(k, v) for k, v in shapes.items() if not k.startswith("head.")}
        common = len(found & expected)
        share = common / len(found | expected)
        if common >= LOOKS_LIKE_SHARE * len(expected) and share >= best_share:
            best, best_share = name, share
    return best


def check_fit(path: Path, state: Mapping[str, Tensor], variant: Variant, classes: int) -> None:
    if classes < 1:
        raise UserError(f"{path}: its head has no classes; give another checkpoint")
    expected = expected_shapes(variant, classes)
    problems = []
    for name, shape in expected.items():
        if name not in state:
            problems.append(f"{name} missing")
        elif tuple(state[name].shape) != shape:
            problems.append(f"{name} has shape {_shape(state[name].shape)}, not {_shape(shape)}")
    extra = tuple(name for name in state if name not in expected)
    if not problems and not extra:
        return
    if not problems:
        raise UserError(
            f"{path} holds all of {variant.name} and {len(extra)} names more "
            f"({listed(extra)}); if they are no part of the network, save its state dict "
            "without them"
        )
    head = state.get("head.weight")
    if (
        head is not None
        and head.ndim == 2
        and head.shape[0] != classes
        and not extra
        and all(p.startswith("head.") for p in problems)
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
        f" {', '.join(problems[:NAMED_AT_MOST])}; {len(problems)} names missing, unexpected or of a"
        f" wrong shape in all; {fix}"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def number_of_classes(state: Mapping[str, Any], num_classes: int | None) -> int:
    """The number of classes asked for, else that of the head."""
    head = state.get("head.weight")
    if num_classes is None:
        return head.shape[0] if isinstance(head, Tensor) and head.ndim == 2 else 1000
    return num_classes


def lacking(state: Mapping[str, Any], variant: Variant, num_classes: int | None) -> list[str]:
    """Names of `variant` that `state` lacks or has in another shape."""
    expected = expected_shapes(variant, number_of_classes(state, num_classes))
    return [name for name, shape in expected.items() if _shape_of(state, name) != shape]


def _shape_of(state: Mapping[str, Any], name: str) -> tuple[int, ...] | None:
    value = state.get(name)
    return tuple(value.shape) if isinstance(value, Tensor) else None


def check_dense(path: Path, tensors: Mapping[str, Any]) -> None:
    """`UserError` for what is no tensor, and for a tensor of the network's that is no float."""
    known = {name for v in VARIANTS.values() for name in expected_shapes(v, 1000)}
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


def listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    return ", ".join(names[:NAMED_AT_MOST]) + more or "nothing"
