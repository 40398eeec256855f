"""A search record as a terminal table, and its figures as text."""

from __future__ import annotations

from mobilemod.results.sensitivity.table import signed
from mobilemod.results.table import aligned, drop_text, measured_lines, sqnr_text
from mobilemod.results.verdict import UNDECIDED


def cost_text(value: float, record: dict) -> str:
    """A cost with the digits that its unit deserves."""
    return f"{value:.3f}" if record["unit"] == "ms" else f"{value:.1f}"


def kl_text(step: dict) -> str:
    """The divergence, nats; "n/a" where it isn't finite."""
    return "n/a" if step["kl"] is None else f"{step['kl']:.2e}"


def change_text(step: dict) -> str:
    """What a step changed, for people."""
    if step["added"]:
        return f"+ {step['added']}"
    return "".join(f"− {name} " for name in step["removed"]).strip() or "nothing"


def met_text(record: dict) -> str:
    """One sentence: whether the drop is met, at what cost."""
    first, last = record["steps"][0], record["steps"][-1]
    asked = f"at most {record['max_drop']:g} asked"
    points, interval = drop_text(last["drop"])
    drop = f"drop {points} points, 95 % {interval} on {record['check_images']:,} images"
    if record.get("state") == UNDECIDED:
        return f"undecided: {drop}, {asked}; {record['reason']}"
    if not record["met"]:
        return (
            f"not met: with all that helps float ({len(last['modules'])} modules), {drop}, {asked}"
        )
    if not last["modules"]:
        return f"met by recipe {record['recipe']} as it is: {drop}, {asked}"
    more = cost_text(last["cost"] - first["cost"], record)
    count = len(last["modules"])
    return (
        f"met with {count} module{'s'[: count != 1]} float, {more} {record['unit']} more: "
        f"{drop}, {asked}"
    )


def step_texts(record: dict) -> list[list[str]]:
    """Of each step: cost, divergence, SQNR, the gain over the one before, percent of int8 MACs."""
    return [
        [
            cost_text(step["cost"], record),
            kl_text(step),
            sqnr_text(step),
            signed(step["gain_db"], 2) if i else "–",
            f"{100 * step['int8_share']:.2f}",
        ]
        for i, step in enumerate(record["steps"])
    ]


def looks(record: dict) -> int:
    """How many mixes were tried on the validation images."""
    return sum(step["drop"] is not None for step in record["steps"])


def text_table(record: dict) -> str:
    """The front, a line a step, then what each module of the last one brings."""
    profile = "".join(f", {p['file']} {p['sum_ms']:.2f} ms in parts" for p in record["profiles"])
    lines = [
        f"{record['model']}, {record['target']}, form {record['form']}, recipe {record['recipe']}; "
        f"{record['candidates']} modules, cost in {record['unit']}{profile}",
        f"guided by {record['images']:,} training images, {looks(record)} of these mixes checked "
        f"on {record['check_images']:,} validation images",
        *measured_lines(record.get("data"), record["check_images"]),
        "",
    ]
    cells = [["#", "left float", record["unit"], "KL", "SQNR dB", "gain dB", "int8 MACs %",
              "drop", "95 %"]]  # fmt: skip
    for i, (step, figures) in enumerate(zip(record["steps"], step_texts(record), strict=True)):
        cells.append([str(i), change_text(step), *figures, *drop_text(step["drop"])])
    lines += [*aligned(cells, left=frozenset({1})), "", met_text(record)]
    lines += [f"  {signed(m['gain_db'], 2)} dB for {cost_text(m['cost'], record)} "
              f"{record['unit']}  {m['module']}" for m in record["float"]]  # fmt: skip
    if record["damaged"]:
        lines.append(f"{len(record['damaged'])} damaged images left out")
    return "\n".join(lines)
