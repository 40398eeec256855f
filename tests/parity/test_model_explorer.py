"""Node data of `sensitivity` and `diff`: keys are nodes of the file, values the records'."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from export.bundle_parts import OpenedBundle
from export.diff.taps import BundleTaps
from export.model_explorer import explored_file
from export.targets.base import ModelInfo
from export.targets.target import get_target
from export.verbs.main import main
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.manifest import load_bundle, seal_bundle
from quantization.program import quantize
from tests.manifests import model_entry, read_manifest
from tests.tiny_bundle import IDS, SIZE, draw_data
from tests.whole_bundle import make_whole_bundle

FORM = "xnnpack"


@pytest.fixture(scope="module")
def file(narrow_model, tmp_path_factory) -> Path:
    """The int8 file of a narrow network, in its bundle; images of `data` lie beside that."""
    root = tmp_path_factory.mktemp("explorer")
    folder = make_whole_bundle(root / "bundle", narrow_model)
    draw_data(root / "data", 1)
    opened, target = OpenedBundle(load_bundle(folder)), get_target("tflite")
    path, info = folder / "narrow_int8.tflite", ModelInfo("narrow", IDS, Preprocess(size=SIZE))
    program = quantize(opened.mobile(FORM, True), opened.table(FORM), target.facts.fold)
    target.lower(program, info, path, int8=True)
    values = read_manifest(folder)
    entry = model_entry(path, "tflite", "int8")
    seal_bundle(folder, {**values, "files": [entry], "golden": []})
    return path


@pytest.fixture(scope="module")
def names(file) -> dict[str, str]:
    """Published tensor -> the file's."""
    return BundleTaps(load_bundle(file.parent)).file(file).names


def results(path: Path, file: Path) -> dict[str, dict]:
    """The values, whose keys are what nodes of the file give."""
    found = json.loads(path.read_text())["main"]["results"]
    given = {o for node in get_target("tflite").read_graph(file).nodes for o in node.outputs}
    assert found and found.keys() <= given
    return found


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def types_say_why(out: Path, file: Path) -> None:
    said = {r["value"] for r in results(out, file).values()}
    assert "int8" in said and any(s.startswith("float32 (LayerNorm") for s in said)


def test_sensitivity(file, names, tmp_path, capsys):
    out, record = tmp_path / "n.json", tmp_path / "r.json"
    data = file.parent.parent / "data"
    assert main(["sensitivity", str(file.parent), "--data", str(data), "--images", "4",
                 "--json", str(record), "--model-explorer", str(out)]) == 0  # fmt: skip
    items = {t: i for i in read(record)["items"] for t in i["tensors"]}
    levels, costs = (results(p, file) for p in (out, tmp_path / "n-cost.json"))
    seen = 0
    for tensor, own in names.items():
        if tensor in items and own in levels:
            alone = items[tensor]["alone"]
            # The op's weight is of the same module, so of the same item.
            assert levels[own]["value"] == round(alone["sqnr_db"], 6)
            assert costs[own]["value"] == round(alone["loss_change"], 6)
            seen += 1
    assert seen > 5 and len({r["value"] for r in levels.values()}) > 5
    types_say_why(tmp_path / "n-types.json", file)


def test_diff(file, names, tmp_path, capsys):
    image = next((file.parent.parent / "data").rglob("*.png"))
    out, record = tmp_path / "n.json", tmp_path / "r.json"
    assert main(["diff", str(file), "program", "--image", str(image),
                 "--json", str(record), "--model-explorer", str(out)]) == 0  # fmt: skip
    (told,) = read(record)["images"]

    def value(found: dict) -> float | str:
        return "identical" if found["sqnr_db"] is None else round(found["sqnr_db"], 6)

    takes: list[tuple[str, Callable[[dict], dict]]] = [
        ("n.json", lambda row: row), ("n-own.json", lambda row: row["own"])
    ]  # fmt: skip
    for name, take in takes:
        found = results(tmp_path / name, file)
        expected = {names[row["tensor"]]: value(take(row)) for row in told["tensors"]}
        assert {k: r["value"] for k, r in found.items()}.items() <= expected.items()
        assert len(found) > 20
    types_say_why(tmp_path / "n-types.json", file)


def test_a_bundle_without_such_a_file_is_told_so(file, tmp_path, narrow_model):
    bundle = load_bundle(file.parent)
    assert explored_file(bundle, FORM) == file
    with pytest.raises(UserError, match=r"needs an int8 .tflite of form coreml, and .* has none"):
        explored_file(bundle, "coreml")


def test_diff_of_other_files_is_refused(file, tmp_path, capsys):
    out = tmp_path / "n.json"
    args = ["diff", "a.pte", "b.pte", "--image", "x", "--model-explorer", str(out)]
    assert main(args) == 2
    assert "is for one file, .tflite" in capsys.readouterr().err
