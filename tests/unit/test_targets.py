"""Targets: each a row of facts and a folder of parts, found by listing, whole or said to lack."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.targets import target as protocol
from export.targets.base import FORMS
from export.targets.target import PARTS, Target, get_target, target_of_file
from mobilemod import closure
from mobilemod.errors import UserError
from mobilemod.harness.drivers import get_driver
from mobilemod.harness.worker.runtimes import runtime_of_file
from mobilemod.targets import DEFAULTS, SUFFIXES, TARGETS, facts_of_file, suffix_of

FOLDER = Path(protocol.__file__).parent
MODELS = Path(__file__).resolve().parents[1] / "data" / "models"
RUNTIMES = {
    "executorch": {"executorch"},
    "tflite": {"ai_edge_litert", "litert_torch", "litert_converter"},
    "coreml": {"coremltools"},
    "coreai": {"coreai", "coreai_torch"},
    "executorch:coreml": {"executorch", "coremltools"},
    "executorch:vulkan": {"executorch"},
    "tflite:onnx2tf": {"ai_edge_litert"},
}
SECONDS = 3.0

each = pytest.mark.parametrize("name", TARGETS)


def test_rows_and_folders_are_the_same_in_the_order_of_a_bundle():
    assert list(TARGETS) == list(RUNTIMES)
    assert DEFAULTS == ("executorch", "tflite", "coreml")
    folders = {p.name for p in FOLDER.iterdir() if (p / "__init__.py").exists()}
    assert folders == {facts.folder for facts in TARGETS.values()}
    assert len(set(SUFFIXES)) == len(SUFFIXES)
    assert all({*facts.holds} <= {*TARGETS} for facts in TARGETS.values())


@pytest.mark.parametrize(
    "file,suffix,name",
    [
        ("a.pte", ".pte", "executorch"),
        ("a.coreml.pte", ".coreml.pte", "executorch:coreml"),
        ("a.b.vulkan.pte", ".vulkan.pte", "executorch:vulkan"),
        ("a.other.pte", ".pte", "executorch"),
        ("a.onnx2tf.tflite", ".onnx2tf.tflite", "tflite:onnx2tf"),
        (".coreml.pte", ".pte", "executorch"),
        ("a.coreml", ".coreml", None),
        (".pte", "", None),
        ("a", "", None),
    ],
)
def test_a_file_is_of_the_target_with_the_longest_suffix(file, suffix, name):
    facts = facts_of_file(Path(file))
    assert suffix_of(Path(file)) == suffix
    assert (facts and facts.name) == name


@pytest.mark.parametrize("name", ["a.coreml.pte", "a.vulkan.pte", "a.onnx2tf.tflite"])
def test_no_host_runs_what_another_s_delegate_is_for(name):
    """The suffix of what the host runs ends theirs."""
    assert suffix_of(Path(name)) not in get_driver("host").suffixes()
    with pytest.raises(UserError, match=r"Python runs \.tflite, \.pte files"):
        runtime_of_file(Path(name))


@each
def test_a_target_has_every_part_or_says_what_it_lacks(name):
    lacks = TARGETS[name].lacks
    assert set(lacks) <= set(PARTS) and all(lacks.values())
    assert TARGETS[name].form in FORMS
    for part, functions in PARTS.items():
        path = FOLDER / TARGETS[name].folder / f"{part}.py"
        assert path.exists() is (part not in lacks), path
        if part in lacks:
            continue
        found = {n.name: n for n in ast.parse(path.read_text("utf-8")).body if hasattr(n, "name")}
        for function in functions:
            check_signature(found[function].args, f"{name}.{part}.{function}")


def check_signature(given: ast.arguments, where: str) -> None:
    """A part's function takes what `Target` calls it with."""
    method = {"check_file": "check"}.get(where.rpartition(".")[2], where.rpartition(".")[2])
    parameters = list(inspect.signature(getattr(Target, method)).parameters.values())[1:]
    positional = [a.arg for a in given.args]
    assert len(positional) == sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters), where
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert named <= {a.arg for a in given.kwonlyargs}, where
    optional = sum(d is not None for d in given.kw_defaults)
    assert len(given.kwonlyargs) - optional == len(named), where


@pytest.mark.parametrize(
    "name,part", [(t.name, part) for t in TARGETS.values() for part in t.lacks]
)
def test_what_is_lacking_is_told(name, part, tmp_path):
    path, target = tmp_path / f"a{TARGETS[name].suffix}", get_target(name)
    use = {
        "cut": target.open_cutter,
        "taps": target.open_taps,
        "gpu": lambda p: target.run_on_gpu(p, np.zeros((1, 3, 8, 8), np.float32)),
        "running": target.load,
        "check": lambda path: target.check(path, None, None),
    }[part]
    with pytest.raises(UserError) as caught:
        use(path)
    assert str(caught.value) == f"{path}: {TARGETS[name].lacks[part]}"
    assert not target.has(part) and target.code(part) == ()


def test_names_and_suffixes_that_nothing_here_knows(tmp_path):
    with pytest.raises(UserError, match="known: executorch, tflite, coreml, coreai"):
        get_target("tflit")
    with pytest.raises(UserError, match=r"give .pte, .*, .vulkan.pte or .onnx2tf.tf"):
        target_of_file(tmp_path / "a.mlmodel")
    with pytest.raises(UserError, match="no known model file; expected .pte, .tflite, .mlp"):
        target_of_file(tmp_path / "a.onnx")


PROBE = """
import json, os, resource, sys
from export.verbs.main import main
code = main(["inspect", sys.argv[1]])
used = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([code, sorted(used)]))
"""


@each
def test_inspect_imports_no_other_runtime_and_is_quick(name):
    """In processor time, of the command and all that it starts."""
    if any(importlib.util.find_spec(p) is None for p in TARGETS[name].packages):
        pytest.skip(f"{name} needs '{TARGETS[name].installed_by}'")
    path = sorted(MODELS.glob(f"w8{TARGETS[name].suffix}")) or sorted(
        MODELS.glob(f"*{TARGETS[name].suffix}")
    )
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-c', *sys.argv[1:]], capture_output=True)\n"
        "spent = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(spent.ru_utime + spent.ru_stime)\n"
        "print(done.stdout.decode().splitlines()[-1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, PROBE, str(path[0])],
        cwd=closure.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, said = done.stdout.splitlines()
    status, used = json.loads(said)
    assert status == 0
    others = {m for names in RUNTIMES.values() for m in names} - RUNTIMES[name]
    assert not set(used) & (others | {"torch"})
    assert float(seconds) < SECONDS


ROW = """
from mobilemod.targets.facts import Facts

FACTS = Facts("toy", ".toy", 40, "xnnpack", "float32", (), "adds",
              lacks={p: "toys only lie there" for p in ("lowering", "running", "taps", "check")} |
                    {"cut": "toys don't come apart"})
"""
GRAPH = """
from export.graph import FileGraph, FileNode, FileTensor


def read_graph(path):
    names = path.read_text().split()
    tensors = {n: FileTensor(n, (1,), "float32") for n in names}
    return FileGraph("toy", tensors, (FileNode("add", tuple(names), ()),), (), ())
"""


def test_one_more_target_is_one_file_and_one_folder(tmp_path):
    for name in ("mobilemod", "quantization", "export"):
        skip = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(closure.ROOT / name, tmp_path / name, ignore=skip)
    (tmp_path / "mobilemod/targets/toy.py").write_text(ROW)
    (tmp_path / "export/targets/toy").mkdir()
    (tmp_path / "export/targets/toy/__init__.py").write_text("")
    (tmp_path / "export/targets/toy/graph.py").write_text(GRAPH)
    (tmp_path / "a.toy").write_text("x y")
    (tmp_path / "a.onnx").touch()

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "export.verbs", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
        )

    done = run("inspect", "a.toy")
    assert done.returncode == 0 and done.stdout.startswith("a.toy  (toy,"), done.stderr
    assert "a.toy: toys don't come apart" in run("profile", "a.toy").stderr
    assert ".aimodel, .toy, .coreml.pte" in run("inspect", "a.onnx").stderr
    assert "executorch,tflite,coreml,toy" in run("export", "--help").stdout
    assert "mobilemod/targets/toy.py" in closure.import_closure("export.graph", root=tmp_path)
