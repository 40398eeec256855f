"""A sensitivity record as a terminal table, and its figures as text."""

from __future__ import annotations

from mobilemod.results.measured import measured_lines
from mobilemod.results.table import aligned, sqnr_text

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
    q = record["quantized"]
    return (
        f"all {len(record['items'])} {record['by']}s int8: SQNR {sqnr_text(q)} dB, "
        f"loss {signed(q['loss_change'], 4)}, same top-1 {q['top1_agreement_percent']:.1f} %"
    )


def loss_text(record: dict) -> str:
    """What the losses are against."""
    return "the labels" if record["targets"] == "labels" else "the float network's own top-1"


def noise_limit(record: dict) -> float:
    """Gains up to this many dB are noise: two standard deviations; 0 where it isn't known."""
    return 2 * (record["gain_noise_db"] or 0.0)


def noise_text(record: dict) -> str:
    """What a gain must exceed, in brackets; nothing where it isn't known."""
    limit = noise_limit(record)
    return f" (within ±{limit:.2f} dB it is noise)" if limit else ""


def text_table(record: dict, rows: int = ROWS) -> str:
    """The items that cost most alone, then those whose return to float gains most."""
    what = f"{record['model']}, form {record['form']}, recipe {record['recipe']}"
    lines = [
        f"{what}, {record['images']} images; loss: cross-entropy against {loss_text(record)}",
        whole_text(record),
        "",
    ]
    head = ["#", record["by"], "alone dB", "loss", "same top-1 %", "float again dB", "clipped %"]
    cells = [head]
    for item in record["items"][:rows]:
        cells.append(
            [
                str(item["rank_alone"]),
                item["name"],
                sqnr_text(item["alone"]),
                signed(item["alone"]["loss_change"], 4),
                f"{item['alone']['top1_agreement_percent']:.1f}",
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
