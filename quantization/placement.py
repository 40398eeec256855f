"""Which tensors of a form are codes under a recipe, of 8 or of 16 bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from mobilemod.forms.naming import COMPUTED
from quantization.recipe import Recipe

# Roles of tensors that hold another's values.
FOLLOWS = ("moved", *COMPUTED, "repeat")
Placed = Tap | Constant | NamedConv2d


def int8_modules(form: Form, form_name: str, recipe: Recipe) -> Iterator[Placed]:
    """What stands at the tensors of `form` that are int8 under `recipe`, in order."""
    return (m for m, dtype in coded_modules(form, form_name, recipe) if dtype == "int8")


def coded_modules(form: Form, form_name: str, recipe: Recipe) -> Iterator[tuple[Placed, str]]:
    """What stands at the tensors of `form` that are codes under `recipe`, with their dtype.

    A weight beside a float input stays float: no runtime here has a kernel for that; beside codes
    of either width it is int8. What isn't real stays as it is.
    """
    chosen: dict[str, str] = {}
    for module in form.modules():
        if not isinstance(module, Placed) or module.role == "whole":
            continue
        reads, source = getattr(module, "reads", ()), getattr(module, "source", None)
        if reads and chosen.keys().isdisjoint(reads):
            continue
        dtype = recipe.dtype(module.tensor, form_name, module.role)
        if dtype == "float" or not says_more(module.role, source, chosen, dtype):
            continue
        if isinstance(module, NamedConv2d):
            dtype = "int8"
        elif module.role in FOLLOWS:
            dtype = chosen[source]
        chosen[module.tensor] = dtype
        yield module, dtype


def says_more(role: str, source: str | None, coded: Mapping[str, str], dtype: str = "int8") -> bool:
    """Whether codes at a tensor say something that its source doesn't say: what is moved is as
    its source is, and a convolution only quantizes what comes to it otherwise.

    coded: tensor -> dtype."""
    if role == "in":
        return coded.get(source) != dtype
    return role not in FOLLOWS or source in coded
