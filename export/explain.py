"""What was done to a network on its way to a file: every rewrite with its count, what stayed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mobilemod.forms.canonical import Canonical
from mobilemod.forms.ops import Call


def explained(canonical: Canonical) -> dict[str, Any]:
    """JSON-ready: `rewrites` (what -> how often), `left` (module, op and reason, a line each) and
    `ops` (op -> how many the canonical form has)."""
    ops: Counter[str] = Counter()
    for node in canonical.graph.nodes[1:]:
        op = node.op
        ops[op.kind if isinstance(op, Call) else type(op).__name__] += 1
    done = {name: count for name, count in canonical.rewrites.items() if count}
    return {"rewrites": done, "left": list(canonical.left), "ops": dict(ops.most_common())}


def explanation(form: dict[str, Any]) -> list[str]:
    """`explained` for people."""
    lines = ["rewritten exactly:"]
    lines += [f"  {count:5} {name}" for name, count in form["rewrites"].items()]
    lines.append(f"left as they were: {len(form['left']) or 'nothing'}")
    lines += [f"  {line}" for line in form["left"]]
    ops = ", ".join(f"{count} {op}" for op, count in form["ops"].items())
    return [*lines, f"ops of the form: {ops}"]
