"""The limits that a device's record is held to, from `gates.toml`."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, le
from pathlib import Path
from typing import Any

from mobilemod import ranges
from mobilemod.errors import UserError, unknown
from mobilemod.harness.record.selftest import FAILED, NOT_AVAILABLE, RIGHT, UNKNOWN
from mobilemod.results.device.closeness import closeness
from mobilemod.results.device.table import is_debug, threads_text
from mobilemod.results.device.units import wrong_text, wrong_units
from mobilemod.results.gates import Gates, judge_file
from mobilemod.results.verdict import FAIL, PASS, UNDECIDED, Verdict, word
from mobilemod.targets import TARGETS
from mobilemod.tasks import task_of
from mobilemod.tasks.task import Task

LIMITS = {
    "max_drop": ranges.POINTS,
    "max_upper": ranges.UPPER,
    "min_agreement": ranges.PERCENT,
    "max_p90_ms": ranges.MILLISECONDS,
    "min_speedup": ranges.TIMES,
    "max_sustained_loss": ranges.PERCENT,
}


@dataclass(frozen=True)
class DeviceGates:
    """None: that limit isn't checked. A limit that is given fails where nothing was measured.

    max_drop: points of the metric that an int8 file may lose; max_upper: the most that the upper
    end of the drop's 95 % interval may be; min_agreement: percent of images on which a file answers
    as it does on the host; max_p90_ms: of every int8 configuration; min_speedup: an int8 file is at
    least so many times as fast as its float twin; no_fallback: no op of an int8 file runs outside
    its delegate; max_sustained_loss: percent by which the last minute may be slower than the first;
    self_test: the golden self-test must not find a fault.
    """

    max_drop: float | None = 0.5
    max_upper: float | None = 1.0
    min_agreement: float | None = 99.0
    max_p90_ms: float | None = None
    min_speedup: float | None = None
    no_fallback: bool = False
    max_sustained_loss: float | None = None
    self_test: bool = True

    @classmethod
    def read(cls, path: Path) -> DeviceGates:
        """From a TOML file; `UserError` for a misspelled key or a value of another kind."""
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; give --gates another") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is no TOML: {error}") from None
        fields = {f.name: f for f in dataclasses.fields(cls)}
        for key, value in values.items():
            if key not in fields:
                raise UserError(f"{path}: {unknown('gate', key, fields)}")
            if key in LIMITS:
                LIMITS[key].check(f"{path}: {key}", value)
            elif not isinstance(value, bool):
                raise UserError(f"{path}: {key} must be true or false, not {value!r}")
        return cls(**values)


def check_record(record: dict[str, Any], gates: DeviceGates) -> list[Verdict]:
    """A verdict for every limit and file; the first says whether everything was answered."""
    verdicts = [_complete(record)]
    for file in record["files"]:
        if file["self_test"]["verdict"] == NOT_AVAILABLE:
            verdicts.append(_unavailable(file))
            continue
        if gates.self_test:
            verdicts.append(_self_test(file, task_of(record)))
        if record["counts"]["sent"]:
            verdicts += _accuracy(record, file, gates)
        if file["precision"] == "int8":
            verdicts += _speed(file, gates)
    if gates.min_speedup is not None:
        verdicts += _speedups(record, gates.min_speedup)
    return verdicts


def _complete(record: dict[str, Any]) -> Verdict:
    counts = record["counts"]
    what = f"{counts['answered']} of {counts['expected']} answers"
    if counts["unreadable"]:
        what += f", {counts['unreadable']} images unreadable"
    planned = record["job"]["configurations"]
    # Of a unit that nothing is measured on an error is a warning, as a wrong answer is.
    tested = {i for i, c in enumerate(planned) if c.get("self_test_only")}
    errors = [e["message"] for e in record["errors"] if e.get("configuration") not in tested]
    if record["complete"] and not counts["missing"] and not errors:
        return Verdict("complete", PASS, f"complete: {what}: pass")
    why = record["reason"] or next(iter(errors), "")
    line = f"complete: {what}, {counts['missing']} missing: fail" + (f"; {why}" if why else "")
    return Verdict("complete", FAIL, line, "presence", counts["missing"], 0)


def _unavailable(file: dict[str, Any]) -> Verdict:
    """Of a file that the device has nothing to run on."""
    name, reason = f"self-test: {file['file']}", file["self_test"]["reason"]
    line = f"{name}: not available: {reason}: undecided"
    return Verdict(name, UNDECIDED, line, "self-test", reason=reason)


def _self_test(file: dict[str, Any], task: Task) -> Verdict:
    test, name = file["self_test"], f"self-test: {file['file']}"
    if test["verdict"] == RIGHT:
        line = f"{name}: {closeness(task).within(test)}: pass"
        return Verdict(name, PASS, line, "self-test", test["pixels_error"], test["tolerance"])
    said = test["verdict"] if test["verdict"] in (UNKNOWN, FAILED) else f"{test['verdict']} fault"
    why = (test["fault"], test.get("reason"), _first(test))
    line = ": ".join(filter(None, (name, said, *why, "fail")))
    return Verdict(name, FAIL, line, "self-test", test["pixels_error"], test["tolerance"])


def _first(test: dict[str, Any]) -> str:
    """The first tensor that parts, in words."""
    return f"first {test['parts_at']}" if test.get("parts_at") else ""


def warnings(record: dict[str, Any]) -> list[dict[str, str]]:
    """`name` and `line` of what fails no gate: an app that is a debug build, and each unit that
    nothing is measured on and that is wrong, as nothing that was measured ran there."""
    found = []
    if is_debug(record):
        line = "app: a debug build, whose times are not a release's: measure with another: warning"
        found.append({"name": "app", "line": line})
    for t in wrong_units(record):
        name = f"self-test: {t.file} on {t.unit}"
        said = "" if t.verdict == FAILED else "wrong: "
        found.append({"name": name, "line": f"{name}: {said}{wrong_text(t)}: warning"})
    return found


def _accuracy(record: dict[str, Any], file: dict[str, Any], gates: DeviceGates) -> list[Verdict]:
    verdicts, found, name, task = [], file["accuracy"] or {}, file["file"], task_of(record)
    if file["precision"] == "int8" and gates.max_drop is not None:
        upper = float("inf") if gates.max_upper is None else gates.max_upper
        limits = Gates(gates.max_drop, upper, 0.0, record["job"]["sample"])
        paired, known, drop = (
            found.get("paired_images", 0),
            found.get("reference"),
            found.get("drop"),
        )
        reference, what = None if known is None else task.reference_from(known), name
        if drop is None and (twin := found.get("twin")) is not None:
            paired, drop = twin["images"], twin["drop"]
            what = f"{name} against {twin['file']} there"
        verdicts.append(judge_file(what, drop, paired, limits, reference, task.counted))
    if gates.min_agreement is not None and TARGETS[file["target"]].runs_here:
        host = found.get("host") or {}
        what = f"{name}: agreement with the host"
        value = host.get(task.agreement.key)
        verdicts.append(_judged(what, value, ge, gates.min_agreement, " %"))
    return verdicts


def _speed(file: dict[str, Any], gates: DeviceGates) -> list[Verdict]:
    verdicts = []
    for c in file["configurations"]:
        if c.get("self_test_only"):
            continue
        name = f"{file['file']}, {threads_text(c['threads'])}, {c['delegate']}"
        if gates.max_p90_ms is not None:
            value = (c["latency"] or {}).get("p90_ms")
            verdicts.append(_judged(f"{name}: p90", value, le, gates.max_p90_ms, " ms"))
        if gates.max_sustained_loss is not None:
            value = (c["sustained"] or {}).get("loss_percent")
            limit = gates.max_sustained_loss
            verdicts.append(_judged(f"{name}: sustained loss", value, le, limit, " %"))
    if gates.no_fallback:
        fallback = file["placement"]["fallback"]
        ops = None if fallback is None else fallback if isinstance(fallback, int) else len(fallback)
        what = f"{file['file']}: ops outside the delegate (says the {file['placement']['source']})"
        verdicts.append(_judged(what, ops, le, 0, ""))
    return verdicts


def _speedups(record: dict[str, Any], limit: float) -> list[Verdict]:
    found = []
    for c in record["comparisons"]:
        name = f"{c['int8']}, {threads_text(c['threads'])}: faster than {c['float']}"
        found.append(_judged(name, c["ratio"], ge, limit, " times"))
    return found or [_judged("int8 faster than float", None, ge, limit, " times")]


def _judged(
    name: str, value: float | None, holds: Callable[..., bool], limit: float, unit: str
) -> Verdict:
    """holds: `le` or `ge`, between value and limit; a value that isn't known fails."""
    passed = value is not None and holds(value, limit)
    said = "not measured" if value is None else f"{value:.2f}{unit}"
    line = f"{name}: {said}, gate {limit:g}{unit}: {word(passed)}"
    return Verdict(name, word(passed), line, "limit", value, limit)
