"""A gate's outcome in words that need no figures, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobilemod.results.verdict import FAIL, PASS, state_of
from mobilemod.tasks.task import Task

WITH_HOST = ": agreement with the host"  # how a device's gates call it


def in_words(verdict: Mapping[str, Any], task: Task) -> str:
    """One sentence without a full stop."""
    state, kind = state_of(verdict), verdict.get("kind", "presence")
    name = verdict["name"]
    subject = name.partition(": ")[2] or name
    if kind in ("drop", "mean drop"):
        where = " on corrupted images" if kind == "mean drop" else ""
        return f"{subject} {_drop(verdict, state, task)}{where}"
    if kind == "agreement" or name.endswith(WITH_HOST):
        return _agreement(verdict, state, task)
    if kind == "gpu":
        good = "runs whole on the GPU and answers as on the processor"
        return f"{subject} {good if state == PASS else 'does not run on the GPU as it should'}"
    if kind == "self-test":
        said = {PASS: "gives the right answers to the test images", FAIL: "fails its self-test"}
        return f"{subject} {said.get(state, 'has nothing there to run on')}"
    if kind == "limit":
        told = "was not measured" if verdict.get("value") is None else _limit(state)
        return f"{name} {told}"
    if name == "complete":
        return "Every image was answered" if state == PASS else "Answers are missing"
    return "No int8 file was compared with the float network" if state == FAIL else name


def _limit(state: str) -> str:
    return "is within its limit" if state == PASS else "is beyond its limit"


def _drop(verdict: Mapping[str, Any], state: str, task: Task) -> str:
    metric = task.metric.name
    if verdict.get("value") is None and state == FAIL:
        return "was not compared with the float network"
    if state == PASS:
        return f"loses no more {metric} than it may"
    few = verdict.get("images_needed") or "too few" in (verdict.get("reason") or "")
    if few:
        return f"may lose more {metric} than it may be allowed: too few images to tell"
    if state == FAIL:
        return f"loses more {metric} than it may"
    return f"can't be judged by its {metric}"


def _agreement(verdict: Mapping[str, Any], state: str, task: Task) -> str:
    name = verdict["name"]
    if name.endswith(WITH_HOST):
        who, other = name.removesuffix(WITH_HOST), "on this machine"
        said = f"{who} gives {task.agreement.same} as {other}"
        otherwise = f"{who} answers otherwise than {other}"
    else:
        who = name.partition(": ")[2].replace(" / ", " and ")
        said, otherwise = f"{who} give {task.agreement.same}", f"{who} answer differently"
    if verdict.get("value") is None:
        return f"{who} could not be compared"
    return said if state == PASS else f"{otherwise} more often than they may"
