"""What the pages are put together of: heads, tiles, groups of sections and lists of verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobilemod.results.markup import Html, tag
from mobilemod.results.verdict import STATES, state_of


def header(kind: str, title: str, *parts: Html | None) -> Html:
    """The head of a page; kind: of the page, above its title."""
    eyebrow = tag("div", kind, class_="eyebrow")
    return tag("header", eyebrow, tag("h1", title), *parts, class_="top")


def tiles(entries: Iterable[tuple[str, str]]) -> Html:
    """Figures with what each is."""
    cells = (tag("div", tag("b", big), tag("span", small), class_="tile") for big, small in entries)
    return tag("div", *cells, class_="tiles")


@dataclass(frozen=True)
class Group:
    """Sections under one heading. anchor: what a page's contents lead to."""

    anchor: str
    title: str
    html: Html


def group(anchor: str, title: str, lead: Html | None, *parts: Html | None) -> Group | None:
    """None where there are no parts. lead: what they come to, before them."""
    if not any(parts):
        return None
    said = None if lead is None else tag("div", lead, class_="lead")
    html = tag("section", tag("h2", title), said, *parts, id=anchor, class_="group")
    return Group(anchor, title, html)


def section(title: str, note: str | None, *parts: Html | None) -> Html | None:
    """A part of a group with its heading and a note on it; None where there is nothing in it."""
    if not any(parts):
        return None
    said = None if note is None else tag("p", note, class_="note")
    return tag("section", tag("h3", title), said, *parts, class_="part")


def gate_list(verdicts: Sequence[Mapping[str, Any]]) -> Html:
    """Each gate's state and line: failed ones, then undecided ones, then the rest."""
    found = []
    for verdict in sorted(verdicts, key=lambda v: STATES.index(state_of(v))):
        state = state_of(verdict)
        found.append(tag("li", tag("b", state, class_=state), tag("span", verdict["line"])))
    return tag("ul", *found, class_="gates")


def capital(text: str) -> str:
    """`text` as a sentence begins."""
    return text[:1].upper() + text[1:]
