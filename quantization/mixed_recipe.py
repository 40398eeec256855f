"""A mix as a recipe: the base recipe's rules, one for each module left float, and its borders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from quantization.mixed_flow import Flow
from quantization.recipe import Recipe, Rule

BORDER = "border: an int8 layer reads or writes it"
INSIDE = "no int8 layer reads or writes it any more"


def mixed_recipe(
    base: Recipe, flows: Sequence[Flow], modules: Mapping[str, str], description: str
) -> Recipe:
    """`base` with `modules` (name -> reason) left float, for the forms of `flows` (all of them).

    The order of rules is that of `modules`; behind them stand, tensor by tensor, what must stay
    int8 at their borders, and what needn't be int8 any more. `min_int8_share` is what the mix
    holds in the worst of the forms, rounded down.
    """
    rules = [Rule(_pattern(m, flows), "float", reason=why) for m, why in modules.items()]
    recipe = dataclasses.replace(base, rules=(*base.rules, *rules))
    forms: dict[tuple[str, str], list[str]] = {}
    for flow in flows:
        wanted = flow.selection(list(modules))
        for tensor in dict.fromkeys(flow.names):
            dtype = "int8" if tensor in wanted else "float"
            if recipe.dtype(tensor, flow.form) != dtype:
                forms.setdefault((tensor, dtype), []).append(flow.form)
    where = {f.form: set(f.names) for f in flows}
    for (tensor, dtype), found in forms.items():
        everywhere = all(tensor not in names or form in found for form, names in where.items())
        only = () if everywhere else tuple(found)
        why = BORDER if dtype == "int8" else INSIDE
        rules.append(Rule(tensor, dtype, only, reason=why))
    share = min(flow.int8_share(list(modules)) for flow in flows)
    return dataclasses.replace(
        base,
        name=f"{base.name}-mixed",
        rules=(*base.rules, *rules),
        min_int8_share=math.floor(share * 1000) / 1000,
        description=description,
    )


def _pattern(module: str, flows: Sequence[Flow]) -> str:
    """The simplest pattern of all the module's tensors and those of modules within it."""
    names = [name for flow in flows for name in flow.names]
    ends = [end for end in (":", ".") if any(n.startswith(module + end) for n in names)]
    return f"{module}{ends[0] if len(ends) == 1 else '[:.]'}*"
