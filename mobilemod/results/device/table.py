"""A device's record as text for a terminal."""

from __future__ import annotations

from typing import Any

from mobilemod.results.device.closeness import closeness
from mobilemod.results.device.units import sentence, tested, unit_rows
from mobilemod.results.table import aligned, drop_text, measured_lines
from mobilemod.tasks import task_of


def text_table(record: dict[str, Any]) -> str:
    """What was measured by file, ratios, counts and verdicts; no trailing newline."""
    lines = [f"{record['device']['name']}: {sentence(record)}", device_text(record)]
    lines += aligned(accuracy_rows(record))
    if any(t.only for t in tested(record)):
        lines += ["", *aligned(unit_rows(record))]
    times = latency_rows(record)
    if len(times) > 1:
        lines += ["", *aligned(times)]
    lines += [
        f"{f['file']}: {f['instructions']['total'] / 1e6:.1f} million instructions an inference"
        for f in record["files"]
        if f.get("instructions")
    ]
    lines += map(comparison_text, record["comparisons"])
    lines += ["", counts_text(record["counts"])]
    lines += measured_lines(record.get("data"), record["job"]["images"])
    said = (*record["verdicts"], *record.get("warnings", ()))
    return "\n".join([*lines, *(v["line"] for v in said)])


def device_text(record: dict[str, Any]) -> str:
    """The device's name and what it said of itself."""
    return f"{record['device']['name']}: {facts_text(record)}"


def facts_text(record: dict[str, Any]) -> str:
    """What a device said of itself."""
    facts = record["device"]["facts"] or {}
    said = [str(facts[k]) for k in ("model", "processor", "os") if facts.get(k)]
    build = (record["device"]["app"] or {}).get("build")
    said += [f"{build} build"] if build else []
    return ", ".join(said) or "said nothing of itself"


def is_debug(record: dict[str, Any]) -> bool:
    """Whether the app said that it is a debug build."""
    return (record["device"]["app"] or {}).get("build") == "debug"


def accuracy_rows(record: dict[str, Any]) -> list[list[str]]:
    """Rows of text; the first is the heading."""
    task = task_of(record)
    metric = task.metric
    rows = [["file", "images", metric.head, "drop", "95 %", "same as host", "self-test"]]
    for f in record["files"]:
        a = f["accuracy"]
        tested = self_test_text(f["self_test"])
        if a is None:
            rows.append([f["file"], "0", "–", "–", "–", "–", tested])
            continue
        host = a["host"]
        same = "–" if host is None else f"{host['identical']} of {host['images']} bit-equal"
        same += "" if host is None else closeness(task).alike(host)
        own = metric.text(a[metric.key])
        rows.append([f["file"], str(a["images"]), own, *drop_cells(a), same, tested])
    return rows


def drop_cells(accuracy: dict[str, Any]) -> tuple[str, str]:
    """As `drop_text`; where the float network's answers aren't known, against the device's float
    file, which is said."""
    twin = accuracy.get("twin")
    if accuracy["drop"] is not None or twin is None:
        return drop_text(accuracy["drop"])
    points, interval = drop_text(twin["drop"])
    return points, f"{interval} to float there"


def self_test_text(test: dict[str, Any]) -> str:
    """ "right", that there is no answer, or the fault."""
    if test["verdict"] in ("right", "not run", "not available", "failed"):
        return test["verdict"]
    return test["fault"] or f"{test['verdict']} fault"


def latency_rows(record: dict[str, Any]) -> list[list[str]]:
    """Rows of text, by file and configuration; the first is the heading."""
    rows = [["file", "threads", "on", "p50 ms", "p90", "p99", "min", "mean", "runs", "load ms",
             "first inference", "preprocessing"]]  # fmt: skip
    for f in record["files"]:
        for c in f["configurations"]:
            t = c["latency"]
            if t is None:
                continue
            numbers = [f"{t[k]:.2f}" for k in ("p50_ms", "p90_ms", "p99_ms", "min_ms", "mean_ms")]
            rows.append([f["file"], str(c["threads"]), c["delegate"], *numbers, str(t["runs"]),
                         *around_texts(f, c)])  # fmt: skip
    return rows


def around_texts(file: dict[str, Any], configuration: dict[str, Any]) -> list[str]:
    """Milliseconds of loading, of the first inference and of preprocessing."""
    cold, before = cold_start(configuration), file["per_image"]["preprocess_ms"]
    starts = ["–", "–"] if cold is None else [f"{v:.1f}" for v in cold]
    return [*starts, "–" if before is None else f"{before['p50_ms']:.2f}"]


def cold_start(configuration: dict[str, Any]) -> tuple[float, float] | None:
    """Milliseconds of the first load and of the first inference after it."""
    loads = sorted(configuration["loads"], key=lambda entry: entry["cold"])
    if not loads or loads[0]["first_inference_ms"] is None:
        return None
    return 1e3 * loads[0]["seconds"], loads[0]["first_inference_ms"]


def threads_text(count: int) -> str:
    """ "1 thread", "2 threads"."""
    return "1 thread" if count == 1 else f"{count} threads"


def unit_text(configuration: dict[str, Any]) -> str:
    """What a configuration of a file runs on."""
    return f"{threads_text(configuration['threads'])}, {configuration['delegate']}"


def label_text(record: dict[str, Any], file: dict[str, Any], configuration: dict[str, Any]) -> str:
    """A configuration among those of all devices."""
    return f"{record['device']['name']}: {file['file']}, {unit_text(configuration)}"


def comparison_text(c: dict[str, Any]) -> str:
    """An int8 file against its float twin, in one line."""
    threads = threads_text(c["threads"])
    return (
        f"{c['int8']} is {c['ratio']:.2f} times as fast as {c['float']} ({threads}), "
        f"95 % [{c['low']:.2f}, {c['high']:.2f}]; faster in {c['faster_rounds']} of {c['rounds']}"
    )


def counts_text(counts: dict[str, int]) -> str:
    """Where every image and line is, in one line."""
    named = (
        ("sent", "images sent"), ("answered", "answers"), ("missing", "missing"),
        ("unreadable", "unreadable"), ("timed", "timed inferences"), ("runs", "starts"),
        ("lines", "lines"), ("repeated_lines", "repeated"), ("damaged_lines", "damaged"),
    )  # fmt: skip
    return ", ".join(f"{counts[key]} {text}" for key, text in named)
