"""What devices' records show over time: heat within a run, and figures from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.results.device.plot import line_plot
from mobilemod.results.device.rows_csv import configurations
from mobilemod.results.device.table import label_text
from mobilemod.results.markup import Html, join, table, tag
from mobilemod.results.parts import section
from mobilemod.tasks import task_of


def throttling(latest: Sequence[dict[str, Any]]) -> Html | None:
    """Latency without pause, and the temperature over the job."""
    lines, rows = [], []
    for r, f, c in configurations(latest):
        s = c["sustained"]
        if s is None:
            continue
        points = [(p["seconds"], p["p50_ms"]) for p in s["curve"]]
        lines.append((label_text(r, f, c), f["precision"], points))
        numbers = (
            f"{s['first_p50_ms']:.2f}",
            f"{s['last_p50_ms']:.2f}",
            f"{s['loss_percent']:+.1f}",
        )
        rows.append(
            [label_text(r, f, c), f"{s['seconds']:.0f}", f"{s['window_seconds']:.0f}", *numbers]
        )
    states = [
        (
            r["device"]["name"],
            "float",
            [(s["t"], s["temperature_c"]) for s in r["state"]["series"] if "temperature_c" in s],
        )
        for r in latest
    ]
    parts = [line_plot(lines, "seconds without pause", "latency over time without pause")]
    if rows:
        head = ["file", "seconds", "window", "first p50 ms", "last p50 ms", "loss %"]
        parts.append(table(head, rows, "wide", "sustained latency"))
    heat = line_plot(states, "seconds since the start", "temperature over the job", "°C")
    if heat:
        parts += [tag("h4", "Temperature, °C"), heat]
    note = ("Median latency while a file runs without pause; the first window of it against the "
            "last, a minute each where there are two.")  # fmt: skip
    return section("After heating up", note, *parts)


def history(records: Sequence[dict[str, Any]]) -> Html | None:
    """Older records beside the last, by device; latencies are joined where they may be compared."""
    rows: list[list[object]] = []
    lines: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    numbers: dict[str, int] = {}
    for r in records:
        device, digest = r["device"]["name"], r["comparable"]["latency"]["digest"]
        metric = task_of(r).metric
        numbers[device] = numbers.get(device, 0) + 1
        for f in r["files"]:
            a, first = f["accuracy"], next((c for c in f["configurations"] if c["latency"]), None)
            if first is not None:
                key = (f"{device}: {f['file']}", f["precision"], digest)
                lines.setdefault(key, []).append((numbers[device], first["latency"]["p50_ms"]))
            rows.append([
                join(r["started"], tag("small", device)),
                tag("td", f["file"], class_="text"),
                "–" if a is None else metric.text(a[metric.key]),
                "–" if first is None else f"{first['latency']['p50_ms']:.2f}",
                r["comparable"]["accuracy"]["digest"][:6], digest[:6],
            ])  # fmt: skip
    if len(records) == len(numbers):
        return None
    drawn = [(label, precision, points) for (label, precision, _), points in lines.items()]
    picture = line_plot(drawn, "run", "median latency by run")
    metric = task_of(records[0]).metric
    head = ["run", "file", metric.head, "p50 ms", "same accuracy", "same latency"]
    inner = join(
        tag("summary", f"{len(records)} records"), table(head, rows[::-1], "wide", "history")
    )
    note = ("Figures with the same mark in the last two columns may be compared: the same network, "
            "images and preprocessing, or the same device, runtime and plan.")  # fmt: skip
    return section("History", note, picture, tag("details", inner))
