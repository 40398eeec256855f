"""README and docs: links lead somewhere, commands are commands, the README stays short."""

from __future__ import annotations

import argparse
import functools
import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from export.verbs.main import VERBS, build_parser
from export.verbs.main import main as command_line
from tests.commands import ROOT
from tests.documented import PAGES, TABLE, Command, commands, entry, expansion, not_run, runs, table

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = set()
    for line in re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{named(page)}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{named(page)}: {target}"


def parsed(line: str) -> None:
    """Through the real parser; nothing is run."""
    words = shlex.split(line)[1:]
    ran = []

    def stop(args: argparse.Namespace) -> int:
        ran.append(args)
        return 0

    module = next(
        importlib.import_module(f"export.verbs.{verb}") for verb in VERBS
        if verb.rpartition(".")[2] == words[0]
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", stop)
        code = command_line(words)
    assert ran and code == 0, line


@functools.cache
def known(verb: str) -> set[str]:
    """The options that its parser has."""
    (verbs,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = verbs.choices[verb]
    parsers = [found]
    for action in found._actions:  # a verb of verbs
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    return {option for p in parsers for option in p._option_string_actions}


def options(line: str) -> set[str]:
    """Those that a line gives."""
    return set(re.findall(r"(?<=\s)--[a-z][\w-]*", line))


def expanded(command: Command) -> tuple[str, ...]:
    """The lines of `mobilemod` that it is, or that `make` would run."""
    if command.text.startswith("make"):
        return expansion(command.text)
    text = command.text.removeprefix(".venv/bin/")
    return (text,) if text.startswith("mobilemod ") else ()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_commands(page):
    """Verbs and options are there, targets and variables of make; whole commands are parsed."""
    for command in commands(page):
        if command.text.startswith("make"):
            for word in command.words[1:]:
                name, equals, _ = word.partition("=")
                assert not equals or name in MAKE_VALUES, f"{command}: make has no {name}"
        for line in expanded(command):
            words = line.split()
            assert not options(line) - known(words[1]), command
            if command.block and not command.open:
                parsed(line)


MAKE_VALUES = set(re.findall(r"\b([A-Z][A-Z0-9_]+)\s*[?:]?=", (ROOT / "Makefile").read_text()))
ALL = [command for page in PAGES for command in commands(page)]


@functools.cache
def run_options() -> dict[str, set[str]]:
    """verb -> options that a test runs it with, in the docs' blocks or by an entry of its own."""
    found: dict[str, set[str]] = {}
    for command in ALL:
        for line in expanded(command):
            known_entry = entry(command.text) or entry(line)
            if command.block or known_entry:
                found.setdefault(line.split()[1], set()).update(options(line))
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_is_run_or_said_why_not(page):
    """By `docs_commands.toml`: a block's command runs or has an entry; one in the text has an
    entry, or one with its options runs."""
    for command in commands(page):
        if entry(command.text):
            continue
        lines = expanded(command)
        assert lines, f"{command}\nno entry of {TABLE.name} fits it"
        if not command.block:
            for line in (line for line in lines if not entry(line)):
                verb = line.split()[1]
                lacking = options(line) - run_options().get(verb, set()) - {"--json"}
                assert verb in run_options() and not lacking, \
                    f"{command}\nno test runs {verb} with {lacking}: {TABLE.name}"  # fmt: skip


def test_every_entry_fits_a_command_and_names_a_test():
    lines = [line for c in ALL for line in (c.text, *expanded(c))]
    for e in table()["command"]:
        assert set(e) in ({"line", "test"}, {"line", "why"}), e
        assert any(entry(line) is e for line in lines), f"{TABLE.name}: nothing is for {e}"
        if "test" in e:
            file, _, name = e["test"].partition("::")
            assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8"), e
    for rule in table()["small"]:
        assert any(re.search(rule["line"], line) for c in ALL for line in runs(c)), rule


def test_what_is_not_run_is_told():
    page = (ROOT / "docs" / "what-was-run.md").read_text("utf-8")
    assert not_run() in page, f"docs/what-was-run.md lacks these rows:\n{not_run()}"


def test_python_is_run_or_held_against_what_it_calls():
    """The README's lines run in `test_python_api`; elsewhere there are signatures, held there."""
    from tests.unit.test_python_api import CALLS

    for page in PAGES[1:]:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            rest = re.sub(r"^mobilemod\.(\w+)\(.*?\)\n", "", block, flags=re.M | re.S)
            assert rest == "", f"{named(page)}: no test runs\n{rest}"
            assert set(re.findall(r"^mobilemod\.(\w+)", block, re.M)) <= set(CALLS), named(page)


def test_the_readme_is_short_and_its_commands_are_seen():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) < 900
    assert len(commands(PAGES[0])) >= 12


def test_the_workflow_is_one():
    workflow = yaml.safe_load((ROOT / "docs/examples/validate.yml").read_text("utf-8"))
    steps = workflow["jobs"]["validate"]["steps"]
    runs = [line for step in steps for line in step.get("run", "").splitlines()]
    ours = [line for line in runs if line.startswith(".venv/bin/mobilemod")]
    assert len(ours) == 2
    for line in ours:
        parsed(line)
    assert all(re.fullmatch(r"[\w/-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    kept = next(s for s in steps if s.get("uses", "").startswith("actions/upload-artifact"))
    assert "dist/model/report" in kept["with"]["path"] and kept["if"] == "always()"
