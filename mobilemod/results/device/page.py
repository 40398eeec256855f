"""One page over all devices and files of a bundle, with CSV and JSON beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import write_json, write_text
from mobilemod.results.device.closeness import closeness
from mobilemod.results.device.plot import (
    PLOT_STYLE,
    accuracy_plot,
    line_plot,
    percentile_rows,
    role_of,
)
from mobilemod.results.device.rows_csv import configurations, csv_text
from mobilemod.results.device.spec import RECORD_SCHEMA, validate_device_record
from mobilemod.results.device.table import (
    around_texts,
    comparison_text,
    counts_text,
    device_text,
    self_test_text,
    threads_text,
)
from mobilemod.results.device.units_page import unit_section, verdict_lines
from mobilemod.results.markup import Html, document, join, table, tag
from mobilemod.results.parts import gate_list, header, section, tiles
from mobilemod.results.table import drop_text, measured_lines
from mobilemod.results.verdict import PASS, headline, overall
from mobilemod.sealed import read_sealed
from mobilemod.tasks import task_of

RECORDS_SCHEMA = "mobilemod/harness-records/1"


def write_pages(folder: Path, model: str) -> Path:
    """Write `report.html`, `report.csv` and `report.json` over every record below `folder`.

    folder: a bundle's `devices/`. The last record of each device that has accuracy is shown, else
    the last; all make its history. A record that can't be read, or was changed, is left out. model:
    the network's name. The page's path.
    """
    records = read_records(folder)
    latest = latest_records(records)
    write_json(folder / "report.json", {"schema": RECORDS_SCHEMA, "records": list(latest.values())})
    write_text(folder / "report.csv", csv_text(records))
    write_text(folder / "report.html", page(list(latest.values()), records, model))
    return folder / "report.html"


def latest_records(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By device the record that it is shown by, of all in their order."""
    # What was measured isn't hidden by a later run without images.
    by_worth = sorted(records, key=lambda r: bool(r["counts"]["sent"]))
    return {r["device"]["name"]: r for r in by_worth}


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Every record below a `devices/` folder, oldest first."""
    found = []
    for path in folder.glob("*/*/record.json"):
        try:
            record = read_sealed(path, "it is left out")
            if record.get("schema") != RECORD_SCHEMA:
                continue
            validate_device_record(record, str(path), "it is left out")
        except UserError as error:
            print(error, file=sys.stderr, flush=True)
            continue
        found.append((record["started"], path.parent.name, record))
    return [record for *_, record in sorted(found, key=lambda entry: entry[:2])]


def page(latest: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]], model: str) -> str:
    """The page's HTML. latest: the record that each device is shown by; records: all of them."""
    parts = [
        _headline(latest, model),
        unit_section(latest),
        _accuracy_over_latency(latest),
        _accuracy(latest),
        _latency(latest),
        _ratios(latest),
        _throttling(latest),
        _instructions(latest),
        _placement(latest),
        _counts(latest),
        _history(records),
    ]
    footer = tag(
        "footer",
        "Drops: paired with the bundle's float network image by image, 95 % bootstrap intervals. "
        "No timed value is left out. The same figures: report.csv and report.json beside this "
        f"page, schema {RECORD_SCHEMA}.",
    )
    return document(f"{model} on devices", PLOT_STYLE, *parts, footer)


def _devices(latest: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Device -> the letter that stands for it in pictures."""
    return {r["device"]["name"]: chr(ord("A") + n % 26) for n, r in enumerate(latest)}


def _headline(latest: Sequence[dict[str, Any]], model: str) -> Html:
    verdicts = [
        {**v, "line": f"{r['device']['name']}: {v['line']}"} for r in latest for v in r["verdicts"]
    ]
    badge, kind = "Nothing measured", "fail"
    if verdicts:
        badge, kind = headline(verdicts), overall(verdicts)
    letters = _devices(latest)
    devices = []
    for r in latest:
        name = r["device"]["name"]
        text = tag("span", f"{device_text(r)}; {r['started']}")
        state = overall(r["verdicts"]) if r["verdicts"] else None
        badge_of = tag("b", state, class_=state) if state else None
        lines = measured_lines(r.get("data"), r["job"]["images"])
        on = [tag("span", line) for line in lines]
        devices.append(tag("li", tag("b", letters[name]), text, badge_of, *on))
    inner = join(tag("summary", f"{len(verdicts)} gates"), gate_list(verdicts))
    return header(
        "mobilemod on devices",
        model,
        verdict_lines(latest),
        tag("div", badge, class_=f"badge {kind}"),
        tag("ul", *devices, class_="gates"),
        _tiles(latest),
        tag("details", inner, open=None if kind == PASS else "open"),
    )


def _tiles(latest: Sequence[dict[str, Any]]) -> Html:
    int8 = [(r, f) for r in latest for f in r["files"] if f["precision"] == "int8"]
    found = [
        (str(len(latest)), "devices"),
        (str(sum(r["counts"]["answered"] for r in latest)), "answers"),
    ]
    drops = [(f["accuracy"]["drop"]["points"], f["file"], r) for r, f in int8
             if f["accuracy"] and f["accuracy"]["drop"]]  # fmt: skip
    if drops:
        points, file, r = max(drops, key=lambda d: d[0])
        found.append(
            (f"{points:.2f}", f"points, the largest int8 drop: {file}, {r['device']['name']}")
        )
    times = [(c["latency"]["p50_ms"], f["file"], r) for r, f in int8 for c in f["configurations"]
             if c["latency"]]  # fmt: skip
    if times:
        ms, file, r = min(times, key=lambda t: t[0])
        found.append((f"{ms:.2f} ms", f"the fastest int8 median: {file}, {r['device']['name']}"))
    return tiles(found)


def _label(record: dict[str, Any], file: dict[str, Any], c: dict[str, Any]) -> str:
    return f"{record['device']['name']}: {file['file']}, {_unit(c)}"


def _unit(c: dict[str, Any]) -> str:
    return f"{threads_text(c['threads'])}, {c['delegate']}"


def _file(file: dict[str, Any], where: str) -> Html:
    dot = tag("span", class_=f"dot {role_of(file['precision'])}")
    return join(dot, file["file"], tag("small", where))


def _accuracy_over_latency(latest: Sequence[dict[str, Any]]) -> Html | None:
    letters, points = _devices(latest), []
    for r, f, c in configurations(latest):
        a = f["accuracy"]
        metric = task_of(r).metric
        if not c["latency"] or a is None or a[metric.key] is None:
            continue
        d, better = a["drop"], 1 if metric.more_is_better else -1
        # The interval is the drop's: how far this file may lie from the float network.
        low = high = None
        if d is not None:
            reference = a[metric.key] + better * d["points"]
            low, high = sorted(reference - better * d[end] for end in ("high", "low"))
        points.append({
            "label": _label(r, f, c),
            "precision": f["precision"],
            "ms": c["latency"]["p50_ms"],
            "figure": a[metric.key],
            "low": low,
            "high": high,
            "letter": letters[r["device"]["name"]],
        })  # fmt: skip
    note = ("Up and left is better. Letters are the devices above; the bar is the 95 % interval of "
            "the drop against the float network. Blue: int8, grey: float.")  # fmt: skip
    metric = task_of(next(iter(latest), {})).metric
    return section("Accuracy over latency", note, accuracy_plot(points, metric))


def _accuracy(latest: Sequence[dict[str, Any]]) -> Html | None:
    rows: list[list[object]] = []
    for r in latest:
        for f in r["files"]:
            name = _file(f, r["device"]["name"])
            a, tested = f["accuracy"], self_test_text(f["self_test"])
            verdict = tag("td", tested, class_="pass" if tested == "right" else "fail")
            if a is None:
                rows.append([name, "0", "–", "–", "–", "–", verdict])
                continue
            host, task = a["host"], task_of(r)
            key = task.agreement.key
            same = "–" if host is None else f"{host['identical']} of {host['images']}"
            agree = "–" if host is None or host[key] is None else f"{host[key]:.2f}"
            points, interval = drop_text(a["drop"])
            rows.append([
                name, f"{a['images']:,}",
                task.metric.text(a[task.metric.key]),
                join(tag("b", points), tag("small", interval)), same, agree, verdict,
            ])  # fmt: skip
    task = task_of(next(iter(latest), {}))
    metric, close = task.metric, closeness(task)
    head = ["file", "images", metric.head, f"drop, {metric.points}", close.identical_head,
            close.alike_head, "self-test"]  # fmt: skip
    note = ("Measured on the device. The drop is against the bundle's float network on the same "
            "images; the self-test runs the bundle's golden images.")  # fmt: skip
    return section("Accuracy", note, table(head, rows, "wide"))


def _latency(latest: Sequence[dict[str, Any]]) -> Html | None:
    entries, rows = [], []
    for r, f, c in configurations(latest):
        t = c["latency"]
        if t is None:
            continue
        entries.append((_label(r, f, c), f["precision"], t))
        rows.append([
            _file(f, f"{r['device']['name']}, {_unit(c)}"),
            *(f"{t[k]:.2f}" for k in ("p50_ms", "p90_ms", "p99_ms", "min_ms", "mean_ms", "max_ms")),
            f"{t['runs']:,}",
            *around_texts(f, c),
        ])  # fmt: skip
    if not rows:
        return None
    head = ["file", "p50", "p90", "p99", "min", "mean", "max", "runs", "load", "first inference",
            "preprocessing"]  # fmt: skip
    note = ("Milliseconds of one inference after warming up; loading, the first inference and "
            "preprocessing are apart. The line reaches from the fastest to p99, the box from p50 "
            "to p90, on a log scale.")  # fmt: skip
    return section("Latency", note, percentile_rows(entries), table(head, rows, "wide"))


def _ratios(latest: Sequence[dict[str, Any]]) -> Html | None:
    items = [
        tag("li", f"{r['device']['name']}: {comparison_text(c)}")
        for r in latest
        for c in r["comparisons"]
    ]
    note = "The two run in turns, one inference each, so that whatever slows the device slows both."
    return section("int8 against its float twin", note, tag("ul", *items) if items else None)


def _throttling(latest: Sequence[dict[str, Any]]) -> Html | None:
    lines, rows = [], []
    for r, f, c in configurations(latest):
        s = c["sustained"]
        if s is None:
            continue
        points = [(p["seconds"], p["p50_ms"]) for p in s["curve"]]
        lines.append((_label(r, f, c), f["precision"], points))
        numbers = (
            f"{s['first_p50_ms']:.2f}",
            f"{s['last_p50_ms']:.2f}",
            f"{s['loss_percent']:+.1f}",
        )
        rows.append(
            [_label(r, f, c), f"{s['seconds']:.0f}", f"{s['window_seconds']:.0f}", *numbers]
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
        parts.append(table(head, rows, "wide"))
    heat = line_plot(states, "seconds since the start", "temperature over the job, degrees Celsius")
    if heat:
        parts += [tag("h3", "Temperature, °C"), heat]
    note = ("Median latency while a file runs without pause; the first window of it against the "
            "last, a minute each where there are two.")  # fmt: skip
    return section("After heating up", note, *parts)


def _instructions(latest: Sequence[dict[str, Any]]) -> Html | None:
    rows = [
        [f["file"], r["device"]["name"], f"{f['instructions']['total'] / 1e6:.1f}"]
        for r in latest
        for f in r["files"]
        if f.get("instructions")
    ]
    note = "Of one inference on an emulated processor: a measure of change, not a latency."
    found = table(["file", "device", "million"], rows) if rows else None
    return section("Executed instructions", note, found)


def _placement(latest: Sequence[dict[str, Any]]) -> Html | None:
    rows = []
    for r in latest:
        for f in r["files"]:
            p = f["placement"]
            rows.append([
                join(f["file"], tag("small", r["device"]["name"])),
                tag("td", f["runtime"] or "–", class_="text"),
                "–" if p["partitions"] is None else str(p["partitions"]),
                tag("td", _fallback(p["fallback"]), class_="text"),
                "the device" if p["source"] == "device" else "the file's audit",
            ])  # fmt: skip
    head = ["file", "run by", "delegated parts", "ops outside", "known from"]
    note = ("What runs outside the delegate costs a round trip; where the device says nothing of "
            "it, the file's own audit does.")  # fmt: skip
    return section("Where the ops ran", note, table(head, rows, "wide"))


def _fallback(found: Any) -> str:
    if found is None:
        return "not known"
    if isinstance(found, dict):
        return ", ".join(f"{count} {op}" for op, count in found.items()) or "none"
    if isinstance(found, list):
        return ", ".join(map(str, found)) or "none"
    return str(found) if found else "none"


def _counts(latest: Sequence[dict[str, Any]]) -> Html | None:
    items = []
    for r in latest:
        text = f"{r['device']['name']}: {counts_text(r['counts'])}"
        if r["reason"]:
            text += f". Broken off: {r['reason']}"
        items.append(tag("li", text))
        items += [
            tag("li", f"{r['device']['name']}: {e['message']}", class_="fail") for e in r["errors"]
        ]
        s = r["state"]
        memory, thermal = s["peak_memory_bytes"], s["worst_thermal"]
        facts = [
            None if memory is None else f"{memory / 1e6:.0f} MB of memory at most",
            None if thermal is None else f"thermal state at worst {thermal}",
            None if s["battery_first"] is None
            else f"battery {100 * s['battery_first']:.0f} % to {100 * s['battery_last']:.0f} %",
        ]  # fmt: skip
        known = ", ".join(f for f in facts if f)
        if known:
            items.append(tag("li", f"{r['device']['name']}: {known}"))
    return section(
        "What was sent and what came back", "Nothing is dropped silently.", tag("ul", *items)
    )


def _history(records: Sequence[dict[str, Any]]) -> Html | None:
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
    inner = join(tag("summary", f"{len(records)} records"), table(head, rows[::-1], "wide"))
    note = ("Figures with the same mark in the last two columns may be compared: the same network, "
            "images and preprocessing, or the same device, runtime and plan.")  # fmt: skip
    return section("History", note, picture, tag("details", inner))
