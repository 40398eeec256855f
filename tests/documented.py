"""The commands of README.md and docs/*.md, and how `docs_commands.toml` says that each is run."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.commands import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
TABLE = ROOT / "tests" / "docs_commands.toml"
# A fenced block, or an indented one: its lines from the second line of the match on, or the first.
BLOCK = re.compile(r"^(?:```([a-z]*)\n(.*?)^```|((?:^(?: {4}[^\n]*)?\n)+))", re.M | re.S)
# A block that begins with one of these holds commands alone, else what a command printed.
PROGRAMS = re.compile(
    r"(\.venv/bin/)?(mobilemod|make|python3?|pip|npm|npx|adb|cd|open|chromium|torchrun)( |$)"
    r"|\./\w+|apps/\S+\.sh"
)
SPAN = re.compile(r"`([^`\n]+)`")
# In running text: a command with what it is given. A verb or a target by itself is a name.
GIVEN = re.compile(
    r"mobilemod [a-z]+ (?:.* )?(?:-|BUNDLE|DIR|FILE|INT8|dist/).*|make [a-z0-9-]+ .+"
    r"|python -m .+|pip install .+"
)
# What a reader fills in, which no parser takes.
OPEN = re.compile(r"…|\[|KIND|\bA B\b|\bCHIP\b")


@dataclass(frozen=True)
class Command:
    """One command line. page: of the docs; line: its number there; block:
    it stands in a block, not in running text."""

    page: str
    line: int
    text: str
    block: bool = True

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"

    @property
    def words(self) -> list[str]:
        """As a shell splits them."""
        return shlex.split(self.text)

    @property
    def open(self) -> bool:
        """Whether a reader has yet to fill something in."""
        return bool(OPEN.search(self.text))


def commands(page: Path) -> list[Command]:
    """Those of its blocks and its text, in order; comments and prompts are cut off."""
    text, name = page.read_text("utf-8"), page.relative_to(ROOT).as_posix()
    found, prose = [], list(text)
    for match in BLOCK.finditer(text):
        part = 2 if match[3] is None else 3
        found += [Command(name, *at) for at in _block(text, match.start(part), match[part])]
        prose[match.start() : match.end()] = re.sub(r"[^\n]", " ", match[0])
    for number, line in enumerate("".join(prose).splitlines(), 1):
        spans = (span.removeprefix("$ ") for span in SPAN.findall(line))
        found += [Command(name, number, span, False) for span in spans if GIVEN.fullmatch(span)]
    return sorted(found, key=lambda c: c.line)


def _block(text: str, start: int, body: str) -> Iterator[tuple[int, str]]:
    """The line's number and the command, of a block of commands."""
    if not PROGRAMS.match(body.lstrip("\n $")):
        return
    number = text.count("\n", 0, start) + 1
    for joined in re.findall(r"(?:.*\\\n)*.*\n", body):
        line = re.sub(r"\s#\s.*", "", joined.replace("\\\n", " ").strip().removeprefix("$ "))
        if line:
            yield number, " ".join(line.split())
        number += joined.count("\n")


@functools.cache
def table() -> dict[str, Any]:
    """`docs_commands.toml`."""
    return tomllib.loads(TABLE.read_text("utf-8"))


def entry(text: str) -> dict[str, str] | None:
    """The first one of the table that fits a command: with `test`, or with `why` it isn't run."""
    return next((e for e in table()["command"] if re.search(e["line"], text)), None)


@functools.cache
def expansion(text: str) -> tuple[str, ...]:
    """What `make` would run, by itself: the lines that set up no environment.

    Raises CalledProcessError where a target or make's file is wrong.
    """
    given = [] if "DATA=" in text else ["DATA=IMAGES"]
    drop = {"MAKEFLAGS", "MAKELEVEL"}
    # What a machine has set is not what the docs' reader has.
    own = {k: v for k, v in os.environ.items() if k not in drop and not k.startswith("MOBILEMOD_")}
    done = subprocess.run(
        [*shlex.split(text), *given, "--dry-run", "VENV=.venv", "PYTHON=python3"],
        cwd=ROOT, env=own, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = (" ".join(line.split()) for line in done.stdout.replace("\\\n", " ").splitlines())
    ours = (re.search(r"\.venv/bin/(mobilemod [a-z].*)", line) for line in lines)
    return tuple(found[1] for found in ours if found)


def runs(command: Command) -> tuple[str, ...]:
    """The lines of `mobilemod` that a test runs for it; () where the table has an entry for it."""
    if entry(command.text) is not None:
        return ()
    if command.words[0] == "make":
        return tuple(line for line in expansion(command.text) if entry(line) is None)
    return (command.text,) if command.words[0].endswith("mobilemod") else ()


def not_run() -> str:
    """The rows of docs/what-was-run.md: a command of each entry with `why`, how many more, why."""
    known = [c.text for page in PAGES if page.stem != "what-was-run" for c in commands(page)]
    rows = []
    for e in (e for e in table()["command"] if "why" in e):
        first, *more = dict.fromkeys(text for text in known if entry(text) is e)
        others = f", {len(more)} more" if more else ""
        shown = textwrap.shorten(first, 60, placeholder=" …")
        rows.append(f"| `{shown}`{others} | {e['why']} |\n")
    return "".join(rows)
