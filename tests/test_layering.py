"""Imports go one way: mobilemod <- quantization <- export; only cli.py may look up, and lazily."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNTIMES = {"executorch", "coremltools", "litert_torch", "ai_edge_litert", "tflite_runtime"}
FORBIDDEN = {
    "mobilemod": {"quantization", "export"},
    "quantization": {"export"} | RUNTIMES,
    "export": set(),
}
LAZY = "mobilemod/cli.py"
SOURCES = sorted(p for package in FORBIDDEN for p in (ROOT / package).rglob("*.py"))
IMPORTERS = {"import_module", "__import__"}


def imported(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool, int]]:
    """(top-level package, whether within a function, line) of every absolute import."""
    for node in ast.iter_child_nodes(tree):
        within = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            called = getattr(function, "attr", getattr(function, "id", None))
            names = [str(node.args[0].value)] if called in IMPORTERS else []
        for name in names:
            yield name.partition(".")[0], inside, node.lineno
        yield from imported(node, within)


def violations(source: str, file: str) -> list[str]:
    """`file:line package` of every import that goes the wrong way."""
    forbidden = FORBIDDEN[file.partition("/")[0]]
    return [
        f"{file}:{line} {package}"
        for package, inside, line in imported(ast.parse(source))
        if package in forbidden and not (file == LAZY and inside)
    ]


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
        ("mobilemod/cli.py", "from quantization import recipe"),
        ("mobilemod/cli.py", "class A:\n    import export"),
        ("quantization/a.py", "from export import audit"),
        ("quantization/a.py", "def f():\n    from executorch.exir import to_edge"),
    ],
)
def test_wrong_ways_are_found(file, source):
    assert violations(source, file)


@pytest.mark.parametrize(
    "file,source",
    [
        ("mobilemod/cli.py", "def f():\n    from export import audit"),
        ("mobilemod/a.py", "from mobilemod.export import x\nimport exporter, torch"),
        ("quantization/a.py", "from mobilemod.models import mobile\nimport torchao"),
        ("export/a.py", "import quantization, mobilemod, executorch"),
    ],
)
def test_right_ways_pass(file, source):
    assert violations(source, file) == []


@pytest.mark.parametrize("module", ["mobilemod", "mobilemod.cli"])
def test_import_is_light(module):
    """`import mobilemod` and `mobilemod --help` wait for no framework."""
    if not (ROOT / f"{module.replace('.', '/')}.py").exists() and module != "mobilemod":
        pytest.skip(f"{module} isn't there")
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'numpy', 'PIL', 'export', 'quantization'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
