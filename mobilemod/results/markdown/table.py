"""Tables and text of GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# What Markdown or HTML within it would read as its own.
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def plain(text: object) -> str:
    """Text as it is, on one line."""
    return str(text).translate(_SPECIAL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int]) -> str:
    """Cells are Markdown already. right: columns of numbers, by index."""
    rule = ["--:" if i in right else ":--" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def folded(summary: str, body: str) -> str:
    """A part that opens at a click; summary: plain text."""
    return f"<details><summary>{plain(summary)}</summary>\n\n{body}\n\n</details>"
