"""What a change of one file redoes: the things whose import closure it is in, and no others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from export.lowering import LoweringJob, made_by
from export.targets.base import ModelInfo
from mobilemod import closure
from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.canonical import Canonical, canonical_form
from mobilemod.targets import TARGETS
from quantization.prepare import preparation
from quantization.recipe import load_recipe

PACKAGES = ("mobilemod", "quantization", "export")
# What the cached things are made by; `code_digest` is given the same names.
MADE_BY = {
    **{t: made_by(t) for t in TARGETS},
    "prepared": (preparation.__name__,),
}


def sources(root: Path) -> list[str]:
    """Every module of the packages, as a path below `root`."""
    found = (p for name in PACKAGES for p in (root / name).rglob("*.py"))
    return sorted(p.relative_to(root).as_posix() for p in found)


def keys(canonical: Canonical) -> dict[str, str]:
    """The keys under which things of one network are cached."""
    closure.code_digest.cache_clear()
    info = ModelInfo("m", ("a", "b"), Preprocess(size=32))
    jobs = {t: LoweringJob(t, canonical.to_dict(), {}, "weights", None, info) for t in TARGETS}
    images = SimpleNamespace(digest="images")
    prepared = preparation._key(canonical, "weights", images, load_recipe("cpu"))
    return {**{t: job.key() for t, job in jobs.items()}, "prepared": prepared}


def test_each_file_redoes_what_imports_it(tmp_path, monkeypatch):
    for name in PACKAGES:
        skip = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(closure.ROOT / name, tmp_path / name, ignore=skip)
    monkeypatch.setattr(closure, "ROOT", tmp_path)
    canonical = canonical_form(nn.Sequential(nn.Conv2d(3, 2, 1), nn.GELU()), (3, 32, 32))
    inside = {name: closure.import_closure(*m, root=tmp_path) for name, m in MADE_BY.items()}
    before = keys(canonical)
    assert all(len(paths) > 10 for paths in inside.values())
    for path in sources(tmp_path):
        whole = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(whole + b"\n# changed\n")
        now = keys(canonical)
        redone = {name for name in now if now[name] != before[name]}
        (tmp_path / path).write_bytes(whole)
        assert redone == {name for name, paths in inside.items() if path in paths}, path
    assert keys(canonical) == before


@pytest.mark.parametrize(
    "modules,inside,outside",
    [
        (MADE_BY["tflite"], ["forms/mobile_ops", "forms/rewrites/", "quantization/program"],
         ["export/measure/", "results/", "harness/"]),
        (MADE_BY["prepared"], ["forms/canonical.py", "forms/layout/translate",
                               "quantization/prepare/rounding"],
         ["export/", "results/"]),
        (("quantization.calibration",), ["forms/form.py", "observers", "data/resample"],
         ["export/", "results/"]),
        (("quantization.sensitivity.effects",), ["sensitivity/program", "quantization/program"],
         ["export/", "results/"]),
    ],
)  # fmt: skip
def test_closures_hold_what_decides(modules, inside, outside):
    found = closure.import_closure(*modules)
    assert not [part for part in inside if not any(part in path for path in found)]
    assert not [path for path in found if any(part in path for part in outside)]


@pytest.mark.parametrize(
    "module",
    ["export.lowering", "export.targets.tflite.lowering", "quantization.prepare.preparation"],
)
def test_nothing_imported_is_missed(module):
    """What Python itself imports of the packages is in the closure."""
    code = (
        f"import sys, {module}\n"
        f"print(*(m for m in sys.modules if m.partition('.')[0] in {PACKAGES!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = closure.import_closure(module)
    for name in done.stdout.splitlines()[-1].split():
        path = name.replace(".", "/")
        assert {f"{path}.py", f"{path}/__init__.py"} & set(found), name


def test_how_imports_are_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "__init__.py").write_text("from typing import TYPE_CHECKING\n")
    (tmp_path / "a" / "b.py").write_text(
        "import json\nif TYPE_CHECKING:\n    import a.d\ndef f():\n    from a import c\n"
    )
    (tmp_path / "json.py").write_text("")  # as others' packages lie beside an installed kit
    for name in "cd":
        (tmp_path / "a" / f"{name}.py").write_text("")
    assert closure.import_closure("a.b", root=tmp_path) == ("a/__init__.py", "a/b.py", "a/c.py")
    with pytest.raises(FileNotFoundError, match="no module a.e"):
        closure.import_closure("a.e", root=tmp_path)
