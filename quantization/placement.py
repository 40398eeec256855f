"""Which tensors of a form are int8 under a recipe."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from quantization.recipe import Recipe

# Roles of tensors that hold another's values.
FOLLOWS = ("moved", "pool", "maximum", "upsample", "repeat")
Placed = Tap | Constant | NamedConv2d


def int8_modules(form: Form, form_name: str, recipe: Recipe) -> Iterator[Placed]:
    """What stands at the tensors of `form` that are int8 under `recipe`, in order.

    A weight beside a float input stays float: no runtime here has a kernel for that. What isn't
    real stays as it is.
    """
    chosen: set[str] = set()
    for module in form.modules():
        if not isinstance(module, Placed) or module.role == "whole":
            continue
        reads = getattr(module, "reads", ())
        if reads and chosen.isdisjoint(reads):
            continue
        dtype = recipe.dtype(module.tensor, form_name, module.role)
        if dtype == "int8" and says_more(module.role, getattr(module, "source", None), chosen):
            chosen.add(module.tensor)
            yield module


def says_more(role: str, source: str | None, int8: Collection[str]) -> bool:
    """Whether int8 at a tensor says something that its source doesn't say: what is moved is int8
    where its source is, and a convolution only quantizes what comes to it in float."""
    if role == "in":
        return source not in int8
    return role not in FOLLOWS or source in int8
