"""Which tensors of a form are int8 under a recipe: those it says, where something comes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from quantization.recipe import Recipe

# Roles of tensors that hold another's values.
FOLLOWS = ("moved", "pool", "maximum", "upsample", "repeat")
# Roles of what is int8 whoever reads it: what int8 convolutions give, and the image.
ANCHORS = ("conv", "stem", "depthwise", "input")
Placed = Tap | Constant | NamedConv2d


def int8_modules(form: Form, form_name: str, recipe: Recipe) -> list[Placed]:
    """What stands at the tensors of `form` that are int8 under `recipe`, in order.

    A weight beside a float input stays float: no runtime here has a kernel for that. A tensor
    between ops that compute in float anyway does too: its int8 would cost accuracy and time. What
    isn't real stays as it is.
    """
    left: set[str] = set()
    while True:
        chosen = _chosen(form, form_name, recipe, left)
        idle = _idle(form, chosen)
        if not idle:
            return list(chosen)
        left |= idle


def _chosen(form: Form, form_name: str, recipe: Recipe, left: Collection[str]) -> dict[Placed, str]:
    """Module -> its tensor, of those that `recipe` makes int8, but for the tensors `left`."""
    chosen: dict[Placed, str] = {}
    tensors: set[str] = set()
    for module in form.modules():
        if not isinstance(module, Placed) or module.tensor in left:
            continue
        reads = getattr(module, "reads", ())
        if (reads and tensors.isdisjoint(reads)) or module.role == "whole":
            continue
        dtype = recipe.dtype(module.tensor, form_name, module.role)
        if dtype == "int8" and says_more(module.role, getattr(module, "source", None), tensors):
            tensors.add(module.tensor)
            chosen[module] = module.tensor
    return chosen


def says_more(role: str, source: str | None, int8: Collection[str]) -> bool:
    """Whether int8 at a tensor says something that its source doesn't say: what is moved is int8
    where its source is, and a convolution only quantizes what comes to it in float."""
    if role == "in":
        return source not in int8
    return role not in FOLLOWS or source in int8


def _idle(form: Form, chosen: dict[Placed, str]) -> set[str]:
    """The chosen tensors that no int8 op makes of int8 values, and of which none comes."""
    int8, made_of = set(chosen.values()), form.made_of
    anchors = {m.tensor for m in chosen if m.role in ANCHORS}
    read = {name for m in chosen if isinstance(m, NamedConv2d) for name in m.reads}
    computed = {t for t, sources in made_of.items() if t in int8 and int8.issuperset(sources)}
    readers: dict[str, list[str]] = defaultdict(list)
    made, used = set(), set()
    for tensor, sources in made_of.items():
        if tensor in anchors or (tensor in computed and not made.isdisjoint(sources)):
            made.add(tensor)
        for source in sources:
            readers[source].append(tensor)
    for tensor in reversed(made_of):
        further = computed.intersection(readers[tensor])
        if tensor in read or not further.isdisjoint(made) or not further.isdisjoint(used):
            used.add(tensor)
    return {
        m.tensor for m in chosen
        if isinstance(m, Tap) and not m.source and m.tensor in made_of
        and m.tensor not in made and m.tensor not in used
    }  # fmt: skip
