"""A mix as a recipe: the base recipe's rules, one for each module left float, and its borders."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from quantization.placement import says_more
from quantization.recipe import Recipe, Rule
from quantization.search.flow import Flow

BORDER = "border: an int8 layer reads or writes it"
INSIDE = "no int8 layer reads or writes it any more"
FOLLOWS = "reads what a float layer writes"


def mixed_recipe(
    base: Recipe, flows: Sequence[Flow], modules: Mapping[str, str], description: str
) -> Recipe:
    """`base` with `modules` (name -> reason) left float, for the forms of `flows` (all of them).

    The order of rules is that of `modules`; behind them stand layers that become float with
    them, then, tensor by tensor, what must stay int8 at their borders and what needn't be int8
    any more. `min_int8_share` is what the mix holds in the worst of the forms, rounded down.
    """
    chosen = list(modules)
    rules = [Rule("float", _pattern(m, flows), reason=why) for m, why in modules.items()]
    rules += [Rule("float", _pattern(m, flows), reason=FOLLOWS) for m in _followers(chosen, flows)]
    recipe = dataclasses.replace(base, rules=(*base.rules, *rules))
    forms: dict[tuple[str, str], list[str]] = {}
    for flow in flows:
        wanted = dict.fromkeys(flow.selection(chosen), "int8")
        for tensor, (role, source) in flow.tensors.items():
            dtype = "int8" if tensor in wanted else "float"
            said = recipe.dtype(tensor, flow.form, role)
            if said in ("int16", dtype):
                continue
            if dtype == "int8" or says_more(role, source, wanted):
                forms.setdefault((tensor, dtype), []).append(flow.form)
    where = {f.form: set(f.names) for f in flows}
    for (tensor, dtype), found in forms.items():
        everywhere = all(tensor not in names or form in found for form, names in where.items())
        only = () if everywhere else tuple(found)
        why = BORDER if dtype == "int8" else FOLLOWS if tensor.endswith(":weight") else INSIDE
        rules.append(Rule(dtype, tensor, forms=only, reason=why))
    share = min(flow.int8_share(chosen) for flow in flows)
    return dataclasses.replace(
        base,
        name=f"{base.name}-mixed",
        rules=(*base.rules, *rules),
        min_int8_share=math.floor(share * 1000) / 1000,
        description=description,
    )


def _followers(modules: Sequence[str], flows: Sequence[Flow]) -> list[str]:
    """Other modules whose convolutions all become float with these, in every form."""
    found: list[list[str]] = []
    for flow in flows:
        floats = flow.floats(modules)
        kept = {flow.ops[i].module for i in flow.capable - floats if flow.ops[i].weight}
        new = (flow.ops[i].module for i in sorted(floats - flow.inside(modules))
               if flow.ops[i].weight)  # fmt: skip
        found.append([m for m in dict.fromkeys(new) if m not in kept])
    return [m for m in found[0] if all(m in others for others in found[1:])]


def _pattern(module: str, flows: Sequence[Flow]) -> str:
    """The simplest pattern of all the module's tensors and those of modules within it."""
    names = [name for flow in flows for name in flow.names]
    ends = [end for end in (":", ".") if any(n.startswith(module + end) for n in names)]
    return f"{module}{ends[0] if len(ends) == 1 else '[:.]'}*"
