"""Node data for Model Explorer: its keys are tensors of the file, its values what the verbs say."""

from __future__ import annotations

import importlib.util
import json

import pytest

from export.targets.target import Target
from export.verbs.main import main
from tests.tiny_bundle import make_bundle

ADAPTER = "ai_edge_model_explorer_adapter"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def written(path):
    (data,) = json.loads(path.read_text("utf-8")).items()
    assert data[0] == "main"
    return data[1]


def test_every_op_tells_its_type(bundle, tmp_path, capsys):
    out = tmp_path / "kinds.json"
    assert main(["inspect", str(bundle / "tiny_int8.tflite"), "--model-explorer", str(out)]) == 0
    results = written(out)["results"]
    values = {r["value"].partition(",")[0] for r in results.values()}
    assert "int8" in values and "float32" in values
    colours = {r["value"].partition(",")[0]: r["bgColor"] for r in results.values()}
    assert colours["int8"] != colours["float32"]


def test_the_graph_is_read_once(bundle, tmp_path, capsys, monkeypatch):
    real, read = Target.read_graph, []
    monkeypatch.setattr(Target, "read_graph", lambda t, path: read.append(path) or real(t, path))
    file = bundle / "tiny_int8.tflite"
    assert main(["inspect", str(file), "--model-explorer", str(tmp_path / "kinds.json")]) == 0
    assert read == [file]


def test_where_it_can_not_be_written_is_said_first(bundle, tmp_path, capsys):
    out = str(tmp_path)
    assert main(["inspect", str(bundle / "tiny_int8.tflite"), "--model-explorer", out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--model-explorer {out} can't be written: it is a folder" in line


def test_times_are_the_profiles(bundle, tmp_path, capsys):
    out = tmp_path / "times.json"
    file = str(bundle / "tiny_float32.tflite")
    assert (
        main(["profile", file, "--rounds", "1", "--json", "-", "--model-explorer", str(out)]) == 0
    )
    record = json.loads(capsys.readouterr().out)
    results = written(out)["results"]
    assert results == {u["tensor"]: {"value": round(u["ms"], 6)} for u in record["units"]}


def test_other_files_are_refused_in_a_line(bundle, tmp_path, capsys):
    out = str(tmp_path / "x.json")
    for files in (["a.pte"], [str(bundle / "tiny_int8.tflite"), "b.tflite"]):
        assert main(["inspect", *files, "--model-explorer", out]) == 2
        assert "is for one file, .tflite" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.skipif(
    importlib.util.find_spec(ADAPTER) is None,
    reason="pip install --no-deps ai-edge-model-explorer-adapter==0.2.1 reads the file as it does",
)
@pytest.mark.parametrize("name", ["tiny_int8.tflite", "tiny_float32.tflite"])
def test_its_own_adapter_knows_every_key(bundle, tmp_path, capsys, name):
    adapter = importlib.import_module(ADAPTER)
    path, out = bundle / name, tmp_path / "kinds.json"
    text = adapter.ConvertFlatbufferDirectlyToJson(adapter.VisualizeConfig(), str(path))
    (graph,) = json.loads(text)[0]["subgraphs"]
    tensors = {
        a["value"]
        for node in graph["nodes"] for output in node["outputsMetadata"] for a in output["attrs"]
        if a["key"] == "tensor_name"
    }  # fmt: skip
    assert main(["inspect", str(path), "--model-explorer", str(out)]) == 0
    assert graph["id"] == "main" and set(written(out)["results"]) <= tensors
