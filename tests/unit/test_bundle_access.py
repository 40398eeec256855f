"""What a manifest says is read of its typed values; its JSON is known where it is written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mobilemod", "export", "quantization", "benchmarks")
OWNERS = ("mobilemod/manifest.py", "mobilemod/manifest_schema.py")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
READERS = ("get", "items", "keys", "values", "pop", "setdefault")


def is_manifest(node: ast.AST) -> bool:
    """Whether an expression is a manifest's JSON by its name: `manifest`, `bundle.values`."""
    if isinstance(node, ast.Name):
        return node.id == "manifest"
    if not isinstance(node, ast.Attribute):
        return False
    if node.attr == "manifest":
        return True
    of = node.value
    return node.attr == "values" and "bundle" in getattr(of, "attr", getattr(of, "id", ""))


def raw_reads(source: str) -> list[int]:
    """Lines where a manifest is looked into by key."""
    found = []
    for node in ast.walk(ast.parse(source)):
        inner = None
        if isinstance(node, ast.Subscript):
            inner = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            inner = node.func.value if node.func.attr in READERS else None
        if inner is not None and is_manifest(inner):
            found.append(node.lineno)
    return found


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_a_manifest_is_looked_into_by_key_only_where_it_is_written():
    assert {relative(p).partition("/")[0] for p in SOURCES} == set(PACKAGES)
    found = {relative(p): raw_reads(p.read_text("utf-8")) for p in SOURCES}
    assert {name: lines for name, lines in found.items() if lines and name not in OWNERS} == {}


@pytest.mark.parametrize(
    "source",
    [
        'bundle.manifest["model"]',
        'load_bundle(path).manifest.get("accuracy")',
        'self.bundle.manifest["recipe"]["name"]',
        'manifest["golden"]',
        "for k, v in manifest.items(): pass",
        'opened.bundle.values["files"]',
    ],
)
def test_reads_by_key_are_found(source):
    assert raw_reads(source) == [1]


@pytest.mark.parametrize(
    "source",
    ["bundle.manifest.files[0].file", "job.manifest.path", 'values["manifest"]', "d.values()"],
)
def test_typed_reads_pass(source):
    assert raw_reads(source) == []
