"""What was done to a network on its way to a file: every rewrite with its count, what stayed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from export.auditing.modules import listed
from mobilemod.forms.canonical import Canonical
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import Constant, NamedConv2d, Tap
from mobilemod.forms.ops import Call
from quantization.params import ParameterTable
from quantization.recipe import Recipe

NO_MODULE = {"the network": "network"}  # as lines and tensors call what is in no module
WHOLE = "whole numbers, or true and false"
SAME = "says nothing that its source doesn't say"


def explained(canonical: Canonical) -> dict[str, Any]:
    """JSON-ready: `rewrites` (what -> how often), `left` (module, op and reason, a line each) and
    `ops` (op -> how many the canonical form has)."""
    ops: Counter[str] = Counter()
    for node in canonical.graph.nodes[1:]:
        op = node.op
        ops[op.kind if isinstance(op, Call) else type(op).__name__] += 1
    done = {name: count for name, count in canonical.rewrites.items() if count}
    return {"rewrites": done, "left": list(canonical.left), "ops": dict(ops.most_common())}


def float_tensors(form: Form, table: ParameterTable, recipe: Recipe) -> dict[str, list[str]]:
    """Why tensors of a form stay float -> those tensors, in the network's order."""
    found: dict[str, list[str]] = {}
    for module in form.modules():
        if isinstance(module, Tap | Constant | NamedConv2d) and module.tensor not in table.entries:
            if module.role == "whole":
                found.setdefault(WHOLE, []).append(module.tensor)
                continue
            chosen = recipe.dtype(module.tensor, table.form, module.role) != "float"
            why = SAME if chosen else recipe.reason(module.tensor, table.form, module.role)
            found.setdefault(why or "the recipe says so", []).append(module.tensor)
    return found


def _cost(outside: dict[str, Any]) -> str:
    parts = outside["cuts"] + 1
    cuts = f", which cuts it into {parts} partitions" if parts > 1 else ""
    return f"outside the delegate: {listed(outside['ops'])}{cuts}"


def explanation(
    form: dict[str, Any],
    floats: dict[str, dict[str, list[str]]],
    audits: dict[str, dict[str, Any]],
) -> list[str]:
    """`explained`, `float_tensors` by form and the audits of the bundle's files, for people.

    Below what was left as it was stands what its module costs in each file: ops that no delegate
    takes, and the partitions that they come between.
    """
    costs = {f: dict(a["outside_modules"]) for f, a in audits.items()}
    lines = ["rewritten exactly:"]
    lines += [f"  {count:5} {name}" for name, count in form["rewrites"].items()]
    lines.append(f"left as they were: {len(form['left']) or 'nothing'}")
    for line in form["left"]:
        module = line.partition(":")[0]
        lines.append(f"  {line}")
        for file, outside in costs.items():
            found = outside.pop(NO_MODULE.get(module, module), None)
            lines += [f"    in {file} {_cost(found)}"] if found else ()
    lines.append("outside the delegate otherwise:")
    rest = [f"  {m or '(unnamed)'}: in {file} {_cost(outside)}"
            for file, found in costs.items() for m, outside in found.items()]  # fmt: skip
    lines += rest or ["  nothing"]
    ops = ", ".join(f"{count} {op}" for op, count in form["ops"].items())
    lines.append(f"ops of the form: {ops}")
    for name, reasons in floats.items():
        lines.append(f"float in the int8 files of form {name}:")
        lines += [f"  {len(t):5} {why} ({t[0]}, …)" for why, t in reasons.items()]
    return lines
