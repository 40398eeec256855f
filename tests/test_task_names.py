"""Top-1 and logits are classification's own: other code asks `mobilemod.tasks`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = "mobilemod/tasks/"
WORDS = re.compile(r"top.?[15](?![0-9])|logits", re.IGNORECASE)
EXEMPT = {
    "fields of published formats": {
        "mobilemod/harness/bench/measured.py",
        "mobilemod/harness/protocol/domains.py",
        "mobilemod/harness/protocol/job.py",
        "mobilemod/harness/protocol/job_read.py",
        "mobilemod/harness/protocol/lines.py",
        "mobilemod/harness/record/answers.py",
        "mobilemod/harness/record/units.py",
        "mobilemod/harness/run/job_build.py",
        "mobilemod/harness/run/job_schema.py",
        "mobilemod/harness/worker/digest.py",
        "mobilemod/harness/worker/execute.py",
        "mobilemod/manifest_schema.py",
        "mobilemod/results/device/file_spec.py",
        "mobilemod/results/spec.py",
    },
    "what model files call their output": {
        "export/diff/named.py",
        "export/targets/coreai/lowering.py",
        "export/targets/coreml/evaluator.py",
        "export/targets/coreml/lowering.py",
        "export/targets/coreml/running.py",
        "export/targets/executorch_coreml/lowering.py",
        "export/targets/tflite/edit.py",
        "export/targets/tflite/lowering.py",
        "export/targets/tflite/metadata.py",
        "export/targets/tflite_onnx2tf/convert.py",
    },
    "what other libraries call a network's output": {"mobilemod/networks/foreign/probe.py"},
    "training for int8, which is of classification": {
        "quantization/qat/report.py",
        "quantization/qat/train.py",
    },
}
SOURCES = sorted(
    p.relative_to(ROOT).as_posix()
    for package in ("mobilemod", "quantization", "export")
    for p in (ROOT / package).rglob("*.py")
)


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of identifiers and strings that name a task's own, docstrings left out."""
    said = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said.add(node.value)
        texts: list[str] = []
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said:
            texts = [node.value]
        elif isinstance(node, ast.Name):
            texts = [node.id]
        elif isinstance(node, ast.Attribute):
            texts = [node.attr]
        elif isinstance(node, ast.arg | ast.keyword):
            texts = [node.arg or ""]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias):
            texts = [node.name]
        yield from ((getattr(node, "lineno", 0), t) for t in texts if WORDS.search(t))


def reason_for(file: str) -> str | None:
    """Why a file may name them, None where it may not."""
    return next((why for why, files in EXEMPT.items() if file in files), None)


@pytest.mark.parametrize("file", SOURCES)
def test_only_tasks_name_their_own(file):
    found = list(named(ast.parse((ROOT / file).read_text("utf-8"))))
    assert file.startswith(OWN) or reason_for(file) or not found, found


@pytest.mark.parametrize("file", sorted(f for files in EXEMPT.values() for f in files))
def test_no_exemption_is_more_than_is_needed(file):
    assert list(named(ast.parse((ROOT / file).read_text("utf-8"))))


@pytest.mark.parametrize(
    "source",
    [
        "top1 = 1",
        "x = record['top1_percent']",
        "x = f'{a} top-1'",
        "def f(logits): pass",
        "def logits_of(): pass",
        "x = p.logits",
        "f(top_1=2)",
        "from a import top5",
    ],
)
def test_what_names_them_is_found(source):
    assert list(named(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ['def f():\n    """Of logits."""', "x = top[1]", "x = stop10", "x = task.metric.key"]
)
def test_what_does_not_passes(source):
    assert not list(named(ast.parse(source)))
