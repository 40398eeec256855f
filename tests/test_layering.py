"""Imports go one way: mobilemod <- quantization <- export. What users import, `mobilemod` itself,
hands on names of the Python API when they are asked for, and nothing within the packages asks.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mobilemod

ROOT = Path(__file__).resolve().parents[1]
RUNTIMES = {"executorch", "coremltools", "litert_torch", "ai_edge_litert", "tflite_runtime"}
FORBIDDEN = {
    "mobilemod": {"quantization", "export"},
    "quantization": {"export"} | RUNTIMES,
    "export": set(),
}
SOURCES = sorted(p for package in FORBIDDEN for p in (ROOT / package).rglob("*.py"))
IMPORTERS = {"import_module", "__import__"}
FACE = "mobilemod/__init__.py"
# What the face hands on from above.
FROM_ABOVE = {
    f"mobilemod.{name}" for name, module in mobilemod._API.items()
    if module.partition(".")[0] in FORBIDDEN["mobilemod"]
}  # fmt: skip


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module, line) of every absolute import, also of those within functions."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            called = getattr(function, "attr", getattr(function, "id", None))
            names = [str(node.args[0].value)] if called in IMPORTERS else []
        for name in names:
            yield name, node.lineno


def violations(source: str, file: str) -> list[str]:
    """`file:line package` of every import that goes the wrong way."""
    forbidden = FORBIDDEN[file.partition("/")[0]]
    tree = ast.parse(source)
    if file == FACE:
        tree = ast.Module([node for node in tree.body if not for_types(node)], [])
    return sorted(
        {
            f"{file}:{line} {name.partition('.')[0]}"
            for name, line in imported(tree)
            if name.partition(".")[0] in forbidden or name in FROM_ABOVE
        }
    )


def for_types(node: ast.AST) -> bool:
    """Whether only a type checker reads a statement."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_sources():
    assert {relative(p).partition("/")[0] for p in SOURCES} == set(FORBIDDEN)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_go_one_way(path):
    assert violations(path.read_text("utf-8"), relative(path)) == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_relative_imports_stay_inside(path):
    """`from .. import x` may not climb out of its package."""
    depth = len(path.relative_to(ROOT).parts) - 1
    levels = [n.level for n in ast.walk(ast.parse(path.read_text("utf-8"))) if hasattr(n, "level")]
    assert all(level <= depth for level in levels)


@pytest.mark.parametrize(
    "file,source",
    [
        ("mobilemod/a.py", "import quantization"),
        ("mobilemod/models/a.py", "from export.audit import inspect"),
        ("mobilemod/a.py", "def f():\n    import export.audit as audit"),
        ("mobilemod/a.py", "import importlib\nimportlib.import_module('export.audit')"),
        ("mobilemod/a.py", "if True:\n    x = __import__('quantization')"),
        ("mobilemod/a.py", "class A:\n    import export"),
        ("mobilemod/__init__.py", "from export.api.exporting import export"),
        ("mobilemod/__init__.py", "def f():\n    import export"),
        ("mobilemod/a.py", "if TYPE_CHECKING:\n    import export"),
        ("mobilemod/a.py", "def f():\n    from mobilemod import load"),
        ("export/a.py", "from mobilemod import validate"),
        ("quantization/a.py", "from export import audit"),
        ("quantization/a.py", "def f():\n    from executorch.exir import to_edge"),
    ],
)
def test_wrong_ways_are_found(file, source):
    assert violations(source, file)


@pytest.mark.parametrize(
    "file,source",
    [
        ("mobilemod/a.py", "from mobilemod.exporter import export\nimport exporter, torch"),
        ("mobilemod/a.py", "from mobilemod import ranges, __version__"),
        ("mobilemod/__init__.py", "if TYPE_CHECKING:\n    from export.a import b as b"),
        ("quantization/a.py", "from mobilemod.forms import mobile\nimport torchao"),
        ("export/a.py", "import quantization, mobilemod, executorch"),
    ],
)
def test_right_ways_pass(file, source):
    assert violations(source, file) == []


@pytest.mark.parametrize("module", ["mobilemod", "export.verbs.main"])
def test_import_is_light(module):
    """`import mobilemod` and `mobilemod --help` wait for no framework."""
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'numpy', 'PIL', 'quantization'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


MODULES = {
    relative(p)[: -len(".py")].replace("/", ".").removesuffix(".__init__"): p for p in SOURCES
}


def test_no_import_goes_in_a_circle():
    """At the top of modules; what a function imports when it is called may look around."""
    edges = {}
    for name, path in MODULES.items():
        top = ast.parse(path.read_text("utf-8"))
        found = {
            other
            for node in top.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for other, _ in imported(ast.Module([node], []))
        }
        edges[name] = sorted(found & set(MODULES) - {name})
    order, open_ = [], []

    def visit(name: str) -> None:
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name not in order:
            open_.append(name)
            for other in edges[name]:
                # A package is there before its modules: what it imports of them is no circle.
                if not name.startswith(f"{other}."):
                    visit(other)
            open_.pop()
            order.append(name)

    for name in edges:
        visit(name)


FOLDERS = sorted({p.parent for p in (*SOURCES, *(ROOT / "benchmarks").rglob("*.py"))})


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_a_room_is_seen_at_a_glance(folder):
    """At most 12 modules side by side, and a word on what the room is for."""
    modules = [p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py")]
    assert len(modules) <= 12
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    assert said, f"{relative(folder)}/__init__.py doesn't say what the room is for"


def test_modules_are_short():
    lines = sorted(len(p.read_text("utf-8").splitlines()) for p in SOURCES)
    assert lines[len(lines) // 2] < 180
