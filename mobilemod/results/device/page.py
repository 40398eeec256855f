"""What devices' records show: where they ran, accuracy, latency, and what int8 brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobilemod.results.device.closeness import closeness
from mobilemod.results.device.over_time import history, throttling
from mobilemod.results.device.plot import accuracy_plot, percentile_rows, role_of
from mobilemod.results.device.rows_csv import configurations
from mobilemod.results.device.table import (
    around_texts,
    comparison_text,
    counts_text,
    drop_cells,
    facts_text,
    label_text,
    self_test_text,
    unit_text,
)
from mobilemod.results.device.units import WRONG, sentence, tested
from mobilemod.results.device.units_page import unit_section
from mobilemod.results.markup import Html, breakable, join, table, tag
from mobilemod.results.parts import Group, group, section
from mobilemod.results.table import measured_lines
from mobilemod.results.verdict import overall
from mobilemod.tasks import task_of


def device_group(
    latest: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
) -> Group | None:
    """latest: the record that each device is shown by; records: all of them."""
    if not latest:
        return None
    return group(
        "devices",
        "On devices",
        None,
        _who(latest),
        unit_section(latest),
        _accuracy_over_latency(latest),
        _accuracy(latest),
        _latency(latest),
        _ratios(latest),
        throttling(latest),
        _instructions(latest),
        _placement(latest),
        _counts(latest),
        history(records),
    )


def _devices(latest: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Device -> the letter that stands for it in pictures."""
    return {r["device"]["name"]: chr(ord("A") + n % 26) for n, r in enumerate(latest)}


def _who(latest: Sequence[dict[str, Any]]) -> Html | None:
    """The devices by their letters, with what the self-test came to on each."""
    letters = _devices(latest)
    rows: list[list[object]] = []
    for r in latest:
        name = r["device"]["name"]
        state = overall(r["verdicts"]) if r["verdicts"] else None
        wrong = any(t.verdict in WRONG for t in tested(r))
        told = measured_lines(r.get("data"), r["job"]["images"])
        rows.append([
            join(f"{letters[name]} ", name, tag("small", r["started"])),
            tag("td", facts_text(r), class_="text"),
            tag("td", state or "no gates", class_=state),
            tag("td", sentence(r), class_="fail" if wrong else "text"),
            tag("td", *(tag("div", line) for line in told), class_="text"),
        ])  # fmt: skip
    head = ["device", "is", "gates", "self-test", "images"]
    return section("The devices", None, table(head, rows, "wide", "devices"))


def _file(file: dict[str, Any], where: str) -> Html:
    dot = tag("span", class_=f"dot {role_of(file['precision'])}")
    return join(dot, breakable(file["file"]), tag("small", where))


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
            "label": label_text(r, f, c),
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
            points, interval = drop_cells(a)
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
    return section("Accuracy", note, table(head, rows, "wide", "accuracy on devices"))


def _latency(latest: Sequence[dict[str, Any]]) -> Html | None:
    entries, rows = [], []
    for r, f, c in configurations(latest):
        t = c["latency"]
        if t is None:
            continue
        entries.append((label_text(r, f, c), f["precision"], t))
        rows.append([
            _file(f, f"{r['device']['name']}, {unit_text(c)}"),
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
    return section("Latency", note, percentile_rows(entries), table(head, rows, "wide", "latency"))


def _ratios(latest: Sequence[dict[str, Any]]) -> Html | None:
    items = [
        tag("li", f"{r['device']['name']}: {comparison_text(c)}")
        for r in latest
        for c in r["comparisons"]
    ]
    note = "The two run in turns, one inference each, so that whatever slows the device slows both."
    return section("int8 against its float twin", note, tag("ul", *items) if items else None)


def _instructions(latest: Sequence[dict[str, Any]]) -> Html | None:
    rows = [
        [f["file"], r["device"]["name"], f"{f['instructions']['total'] / 1e6:.1f}"]
        for r in latest
        for f in r["files"]
        if f.get("instructions")
    ]
    note = "Of one inference on an emulated processor: a measure of change, not a latency."
    found = table(["file", "device", "million"], rows, "", "instructions") if rows else None
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
    return section("Where the ops ran", note, table(head, rows, "wide", "where ops ran"))


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
