"""A sensitivity record as a terminal table, and its figures as text."""

from __future__ import annotations

from mobilemod.results.table import aligned, measured_lines, sqnr_text
from mobilemod.tasks import task_of

ROWS = 20
LEFT_FLOAT_ROWS = 5


def signed(value: float | None, digits: int) -> str:
    """A change with its sign; "n/a" where it isn't finite."""
    return "n/a" if value is None else f"{value:+.{digits}f}"


def clipped_text(item: dict) -> str:
    """Percent of values outside the int8 range, of the activation that has most; "–" for none."""
    shares = [a["clipped_share"] for a in item["activations"]]
    return f"{100 * max(shares):.2f}" if shares else "–"


def whole_text(record: dict) -> str:
    """What the whole quantized program loses, as one sentence."""
    q, agreement = record["quantized"], task_of(record).agreement
    return (
        f"all {len(record['items'])} {record['by']}s int8: SQNR {sqnr_text(q)} dB, "
        f"loss {signed(q['loss_change'], 4)}, {agreement.short} {q[agreement.effect_key]:.1f} %"
    )


def loss_text(record: dict) -> str:
    """What the losses are against."""
    task = task_of(record)
    known = record["targets"] == task.truths
    return f"the {task.truths}" if known else f"the float network's own {task.metric.name}"


def noise_limit(record: dict) -> float:
    """Gains up to this many dB are noise: two standard deviations; 0 where it isn't known."""
    return 2 * (record["gain_noise_db"] or 0.0)


def noise_text(record: dict) -> str:
    """What a gain must exceed, in brackets; nothing where it isn't known."""
    limit = noise_limit(record)
    return f" (within ±{limit:.2f} dB it is noise)" if limit else ""


def text_table(record: dict, rows: int = ROWS) -> str:
    """The items that cost most alone, then those whose return to float gains most."""
    task = task_of(record)
    what = f"{record['model']}, form {record['form']}, recipe {record['recipe']}"
    lines = [
        f"{what}, {record['images']} images; loss: {task.loss} against {loss_text(record)}",
        whole_text(record),
        "",
    ]
    head = [
        "#",
        record["by"],
        "alone dB",
        "loss",
        f"{task.agreement.short} %",
        "float again dB",
        "clipped %",
    ]
    cells = [head]
    for item in record["items"][:rows]:
        cells.append(
            [
                str(item["rank_alone"]),
                item["name"],
                sqnr_text(item["alone"]),
                signed(item["alone"]["loss_change"], 4),
                f"{item['alone'][task.agreement.effect_key]:.1f}",
                signed(item["left_float"]["gain_db"], 2),
                clipped_text(item),
            ]
        )
    lines += aligned(cells, left=frozenset({1}))
    if len(record["items"]) > rows:
        lines.append(f"… and {len(record['items']) - rows} more, each better than these")
    best = sorted(record["items"], key=lambda item: item["rank_left_float"])[:LEFT_FLOAT_ROWS]
    lines += ["", f"largest gains when left float{noise_text(record)}:"]
    lines += [f"  {signed(i['left_float']['gain_db'], 2)} dB  {i['name']}" for i in best]
    lines += measured_lines(record.get("data"), record["images"])
    if record["damaged"]:
        lines.append(f"{len(record['damaged'])} damaged images left out")
    return "\n".join(lines)
