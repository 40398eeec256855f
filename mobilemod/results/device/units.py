"""The verdict on every unit of a device, in words: right, wrong, not there, and what ran where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mobilemod.results.device.closeness import Closeness, closeness
from mobilemod.tasks import task_of

WRONG = ("runtime", "preprocessing")
NAMED = 3


@dataclass(frozen=True)
class Unit:
    """What a file runs on. delegate: by the protocol's name."""

    delegate: str
    words: str


UNITS = (
    Unit("xnnpack", "CPU (XNNPACK)"),
    Unit("cpu", "CPU (built-in kernels)"),
    Unit("cpu_only", "CPU (Core ML)"),
    Unit("wasm", "CPU (WebAssembly)"),
    Unit("all", "all units as Core ML chooses"),
    Unit("cpu_and_ne", "Neural Engine"),
    Unit("cpu_and_gpu", "GPU (Core ML)"),
    Unit("coreml", "Core ML's delegate"),
    Unit("gpu", "GPU"),
    Unit("vulkan", "GPU (Vulkan)"),
    Unit("webgpu", "GPU (WebGPU)"),
    Unit("npu", "NPU"),
    Unit("nnapi", "NNAPI"),
)


@dataclass(frozen=True)
class Tested:
    """One configuration's self-test. placement: None where the device tells nothing of it."""

    file: str
    threads: int
    unit: str
    test: dict[str, Any]
    placement: dict[str, Any] | None
    only: bool
    close: Closeness

    @property
    def verdict(self) -> str:
        """As the record has it."""
        return self.test["verdict"]

    @property
    def difference(self) -> str:
        """Between its answers and the golden ones; "" where it isn't known."""
        return self.close.difference(self.test)


def unit_words(delegate: str) -> str:
    """What a delegate is, for people."""
    return next((u.words for u in UNITS if u.delegate == delegate), delegate)


def tested(record: dict[str, Any]) -> Iterator[Tested]:
    """Every configuration of a record; of an older one what it says of each file."""
    close = closeness(task_of(record))
    for f in record["files"]:
        for c in f["configurations"]:
            test = c.get("self_test") or f["self_test"]
            unit, only = unit_words(c["delegate"]), c.get("self_test_only", False)
            yield Tested(f["file"], c["threads"], unit, test, c.get("placement"), only, close)


def sentence(record: dict[str, Any]) -> str:
    """What the self-test found, unit by unit, in one sentence without a full stop.

    "Right on CPU (XNNPACK, all ops), wrong on GPU: 37 steps at golden image 3 of FILE".
    """
    by_unit: dict[str, list[Tested]] = {}
    for entry in tested(record):
        by_unit.setdefault(entry.unit, []).append(entry)
    right, wrong, rest = [], [], []
    for unit, entries in by_unit.items():
        bad = [t for t in entries if t.verdict in WRONG]
        good = [t for t in entries if t.verdict == "right"]
        missing = next((t for t in entries if t.verdict in ("failed", "not available")), None)
        if bad:
            of = f" for {len(bad)} of {len(entries)} files" if good else ""
            wrong.append(f"{_placed(unit, bad)}{of}: {_files(bad)}")
        elif good:
            of = "" if missing is None else f" ({len(good)} of {len(entries)} files)"
            right.append(_placed(unit, good) + of)
        if missing is not None and not bad:
            whose = f" of {missing.file}" if good else ""
            rest.append(f"{missing.verdict} on {unit}{whose}: {missing.test['reason']}")
        elif not bad and not good:
            rest.append(f"not run on {unit}")
    clauses = [f"right on {_and(right)}"] if right else []
    clauses += [f"wrong on {'; on '.join(wrong)}"] if wrong else []
    said = "; ".join(filter(None, (", ".join(clauses), *rest))) or "no self-test"
    return said[0].upper() + said[1:]


def wrong_units(record: dict[str, Any]) -> list[Tested]:
    """Self-tests that found a fault, or failed, on units that nothing is measured on."""
    return [t for t in tested(record) if t.only and t.verdict in (*WRONG, "failed")]


def unit_rows(record: dict[str, Any]) -> list[list[str]]:
    """Rows of text, one a configuration; the first is the heading."""
    rows = [["file", "threads", "on", "largest difference", "dB", "golden image", "where it ran",
             "self-test"]]  # fmt: skip
    for t in tested(record):
        sqnr, image = t.test.get("sqnr_db"), t.test.get("image")
        rows.append([
            t.file, str(t.threads), t.unit, t.difference or "–",
            "–" if sqnr is None else f"{sqnr:.1f}", "–" if image is None else str(image),
            placement_text(t.placement) or "not told", verdict_text(t.test),
        ])  # fmt: skip
    return rows


def verdict_text(test: dict[str, Any]) -> str:
    """ "right", "wrong" with what explains it, or why there is no answer."""
    if test["verdict"] in WRONG:
        why = [test["fault"]] if test["fault"] else []
        why += [f"first {test['parts_at']}"] if test.get("parts_at") else []
        return f"wrong: {'; '.join(why)}" if why else "wrong"
    reason = test.get("reason")
    return f"{test['verdict']}: {reason}" if reason else test["verdict"]


def wrong_text(t: Tested) -> str:
    """By how much, where, and what explains it."""
    test = t.test
    if t.verdict == "failed":
        return f"failed: {test['reason']}"
    parts = [t.difference or "not finite"]
    if test.get("image") is not None:
        parts[0] += f" at golden image {test['image']} of {t.file}"
    parts += [test["fault"]] if test["fault"] else []
    parts += [f"first {test['parts_at']}"] if test.get("parts_at") else []
    return ", ".join(parts)


def placement_text(placement: dict[str, Any] | None) -> str:
    """Where ops ran, as far as the device told; "" where it told nothing."""
    if placement is None:
        return ""
    if placement.get("placed"):
        return ", ".join(f"{n} ops {where}" for where, n in placement["placed"].items())
    if placement["partitions"] == 0:
        return "nothing delegated"
    fallback = placement["fallback"]
    if isinstance(fallback, dict):
        fallback = sum(fallback.values())
    elif isinstance(fallback, list):
        fallback = len(fallback)
    if fallback:
        return f"{fallback} op{'s'[: fallback != 1]} outside"
    if placement.get("accelerated") is False:
        return "in part"
    return "all ops" if fallback == 0 or placement.get("accelerated") else ""


def _placed(unit: str, entries: Sequence[Tested]) -> str:
    """A unit with where its ops ran, of the file that most is told of outside it."""
    texts = {text for t in entries if (text := placement_text(t.placement))}
    worst = next((t for t in sorted(texts) if t != "all ops"), None)
    text = worst or ("all ops" if texts else "")
    if not text:
        return unit
    return f"{unit[:-1]}, {text})" if unit.endswith(")") else f"{unit} ({text})"


def _files(bad: Sequence[Tested]) -> str:
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return "; ".join(wrong_text(t) for t in bad[:NAMED]) + more


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
