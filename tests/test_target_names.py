"""No source file tells targets apart by name or suffix, but a target's own and those that list what
a device runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.targets.target import PARTS, Target
from mobilemod.targets import SUFFIXES, TARGETS
from mobilemod.targets.facts import Facts

ROOT = Path(__file__).resolve().parents[1]
WORDS = {*TARGETS, *SUFFIXES}
OWN = {
    f: facts
    for facts in TARGETS.values()
    for f in (f"export/targets/{facts.folder}/", f"mobilemod/targets/{facts.folder}.py")
}
FOLDERS = {facts.folder for facts in TARGETS.values()}
RUNTIME_ROOM = "mobilemod/harness/worker/runtimes.py"
# Tables keyed by a target: what an app was built to run, whatever else there is.
TABLES = {
    RUNTIME_ROOM,
    "mobilemod/harness/drivers/adb/runners.py",
    "mobilemod/harness/drivers/browser.py",
    "mobilemod/harness/drivers/iphone/driver.py",
    "mobilemod/harness/arm64/install.py",  # the stamp's key
    "export/targets/base.py",  # a form of the same name
}
PART_NAMES = {
    *PARTS,
    *(f for functions in PARTS.values() for f in functions),
    *(n for n in (*vars(Target), *Facts.__annotations__) if not n.startswith("_")),
} - {"name"}
TEXT_TESTS = {"endswith", "startswith", "removesuffix", "removeprefix", "index", "find", "count"}
SOURCES = sorted(
    p.relative_to(ROOT).as_posix()
    for package in ("mobilemod", "quantization", "export")
    for p in (ROOT / package).rglob("*.py")
)


def words(node: ast.AST | None) -> set[str]:
    """The targets' names and suffixes that stand in an expression as such."""
    found = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant)) if node else ()
    return {v for v in found if isinstance(v, str) and v in WORDS}


def told_apart(tree: ast.AST, tables: bool) -> Iterator[tuple[int, str]]:
    """(line, what) of every place that tells targets apart. tables: dicts may have them as keys."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            yield from ((node.lineno, w) for side in sides for w in words(side))
        elif isinstance(node, ast.MatchValue):
            yield from ((node.lineno, w) for w in words(node.value))
        elif isinstance(node, ast.Dict) and not tables:
            yield from ((node.lineno, w) for key in node.keys for w in words(key))
        elif isinstance(node, ast.Call):
            called = node.func
            attribute = called.attr if isinstance(called, ast.Attribute) else ""
            if attribute in TEXT_TESTS:
                yield from ((node.lineno, w) for a in node.args for w in words(a))
            if isinstance(called, ast.Name) and called.id in ("getattr", "hasattr"):
                name = node.args[1]
                if isinstance(name, ast.Constant) and name.value in PART_NAMES:
                    yield node.lineno, f"{called.id} {name.value}"


def foreign_imports(tree: ast.AST, own: Facts | None) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of a target's own modules from elsewhere. own: a target may
    import itself, and those whose parts its files are made of."""
    allowed = {own.folder, *(TARGETS[name].folder for name in own.holds)} if own else set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[1:2] == ["targets"] and parts[2:3] and parts[2] in FOLDERS - allowed:
                yield node.lineno, name


def broken(file: str, source: str) -> list[tuple[int, str]]:
    """What a source file does that it may not."""
    own = next((facts for folder, facts in OWN.items() if file.startswith(folder)), None)
    tree = ast.parse(source)
    found = list(foreign_imports(tree, own))
    if own is None and file != RUNTIME_ROOM:
        found += told_apart(tree, file in TABLES)
    return found


@pytest.mark.parametrize("file", SOURCES)
def test_targets_are_not_told_apart(file):
    assert broken(file, (ROOT / file).read_text("utf-8")) == []


def test_the_exempt_files_are_there():
    assert set(SOURCES) >= TABLES
    assert all(any(s.startswith(f) for s in SOURCES) for f in OWN)


@pytest.mark.parametrize(
    "source",
    [
        "if graph.target == 'tflite': pass",
        "x = path.suffix != '.pte'",
        "x = target in ('tflite', 'executorch')",
        "x = model.endswith('.pte')",
        "x = model.endswith(('.pte', '.ptd'))",
        "match target:\n    case 'coreml':\n        pass",
        "x = {'tflite': 1, 'executorch': 2}[target]",
        "x = getattr(target, 'load', None)",
        "x = hasattr(backend, 'open_taps')",
        "def f():\n    from export.targets.coreml.check import check",
        "from export.targets import tflite",
        "from mobilemod.targets.coreml import FACTS",
    ],
)
def test_what_tells_apart_is_found(source):
    assert broken("export/a.py", source)
    assert not broken("export/targets/target.py", "x = path.suffix in known.relatives")


@pytest.mark.parametrize(
    "file,source",
    [
        ("export/a.py", "if graph.facts.named: pass\nx = get_target('tflite')"),
        ("export/a.py", "x = a.target == b.target\ny = getattr(args, 'out', None)"),
        ("export/targets/tflite/a.py", "from export.targets.tflite import reader"),
        ("export/targets/tflite/a.py", "x = kind == 'tflite'"),
        ("mobilemod/harness/drivers/browser.py", "D = {'tflite': ('wasm',)}"),
        ("export/targets/executorch_coreml/a.py", "from export.targets.coreml import reader"),
    ],
)
def test_what_does_not_passes(file, source):
    assert not broken(file, source)
    assert broken("export/targets/tflite/a.py", "from export.targets.coreml import reader")
