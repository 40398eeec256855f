"""Verdicts as the pages list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobilemod.results.markup import Html, tag
from mobilemod.results.verdict import STATES, state_of


def gate(verdict: Mapping[str, Any]) -> Html:
    """One gate's state and line."""
    state = state_of(verdict)
    return tag("li", tag("b", state, class_=state), tag("span", verdict["line"]))


def worst_first(verdicts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Failed ones, then undecided ones, then the rest, each in their order."""
    return sorted(verdicts, key=lambda v: STATES.index(state_of(v)))
