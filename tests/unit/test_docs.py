"""README and docs: links lead somewhere, commands are commands, the README stays short."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
import yaml

from export.verbs.main import VERBS
from export.verbs.main import main as command_line

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^(?:```[a-z]*\n(.*?)^```|((?:^    .*\n)+))", re.M | re.S)
# Command lines in pages that hold `…` for what a reader knows, or are pieces of sentences.
ELLIPSIS = "…"


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


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that call us or make, joined where they go on."""
    blocks = ["".join(match) for match in BLOCK.findall(text)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = (re.sub(r"\s#.*", "", line.strip().removeprefix("$ ")) for line in lines)
    return [line for line in found if re.match(r"(\.venv/bin/)?mobilemod [a-z]|make( |$)", line)]


def parsed(line: str) -> None:
    """Through the real parser; nothing is run."""
    words = shlex.split(line)[1:]
    ran = []

    def stop(args: argparse.Namespace) -> int:
        ran.append(args)
        return 0

    import importlib

    module = next(
        importlib.import_module(f"export.verbs.{verb}") for verb in VERBS
        if verb.rpartition(".")[2] == words[0]
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", stop)
        code = command_line(words)
    assert ran and code == 0, line


MAKE_TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
MAKE_VALUES = set(re.findall(r"\b([A-Z][A-Z0-9_]+)\s*[?:]?=", (ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_are_commands(page):
    for line in command_lines(page.read_text("utf-8")):
        if ELLIPSIS in line:
            continue
        if line.startswith("make"):
            for word in shlex.split(line)[1:]:
                name, equals, _ = word.partition("=")
                assert name in (MAKE_VALUES if equals else MAKE_TARGETS), f"{named(page)}: {line}"
        else:
            parsed(line)


def test_the_readme_is_short_and_its_commands_are_seen():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) < 900
    assert len(command_lines(text)) >= 12


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
