"""The history of a bundle's validations: a line each that stays, as table, picture and page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.verbs.main import main
from mobilemod.manifest import load_bundle
from mobilemod.results.validation.history import (
    FILE,
    PLOT,
    add_line,
    changes,
    drops,
    keep_history,
    read_history,
)
from mobilemod.results.validation.history_plot import history_group
from tests.tiny_bundle import draw_data
from tests.whole_bundle import make_whole_bundle


@pytest.fixture(scope="module")
def validated(narrow_model, tmp_path_factory) -> Path:
    """A bundle that was validated twice, on ten images and on six."""
    root = tmp_path_factory.mktemp("history")
    bundle = make_whole_bundle(root / "bundle", narrow_model)
    data = draw_data(root / "data", 1)
    for more in ([], ["--limit", "6"]):
        args = ["validate", str(bundle), "--data", str(data), "--max-drop", "100", *more]
        assert main(args) in (0, 1, 4)
    return bundle


@pytest.fixture
def lines(validated) -> list[dict]:
    return read_history(validated)


def test_each_validation_leaves_a_line(validated, lines):
    assert [line["images"] for line in lines] == [10, 6]
    record = json.loads((validated / "report" / "validation.json").read_text())
    bundle, last = load_bundle(validated), lines[-1]
    (row,) = (p for p in record["predictions"] if p["role"] == "int8")
    (file,) = last["files"]
    assert (file["file"], file["metric"], file["bytes"]) == (
        row["file"], row["top1_percent"], row["bytes"],
    )  # fmt: skip
    assert file["drop"] == {k: row["drop"][k] for k in ("points", "low", "high")}
    assert file["sha256"] == bundle.model_file(file["file"]).sha256
    assert last["manifest"] == bundle.identity and last["tools"] == bundle.origin["tools"]
    # Of the other images nothing is left but their line.
    assert record["data"]["images"] == 6


def test_a_validation_without_images_leaves_none(validated, lines, tmp_path):
    copy = shutil.copytree(validated, tmp_path / "copy")
    assert main(["validate", str(copy), "--audit-only"]) == 0
    assert read_history(copy) == lines


def test_it_is_printed_and_drawn(validated, lines, tmp_path, capsys):
    out = tmp_path / "h.json"
    assert main(["report", str(validated), "--history", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "least agreement %" in text and text.count("tflite int8") == 2
    assert json.loads(out.read_text())["validations"] == lines
    with Image.open(validated / PLOT) as picture:
        colours = len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))
        assert picture.format == "PNG" and picture.width > 800 and colours > 20
    page = (validated / "report" / "report.html").read_text()
    assert 'id="history"' in page and "2 validations" in page


def test_one_alone_is_no_history_on_the_page(lines):
    assert history_group(lines[:1]) is None


def test_what_changed_is_told(lines):
    later = {**lines[0], "manifest": "0" * 64, "tools": {**lines[0]["tools"], "torch": "9"}}
    (said,) = changes([lines[0], later])
    assert said.startswith("2: another export, torch ") and said.endswith("-> 9")
    assert changes([lines[0], lines[0]]) == []
    assert [n for n, _ in drops([lines[0], later])["tflite int8"]] == [1, 2]


def test_a_damaged_line_is_told_and_costs_no_other(lines, tmp_path, capsys):
    for line in lines:
        add_line(tmp_path, line)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"date": "20')  # a process was killed in the middle of it
    add_line(tmp_path, lines[0])
    found = read_history(tmp_path)
    assert sorted(line["images"] for line in found) == [6, 10, 10]
    (said,) = capsys.readouterr().err.splitlines()
    assert ":3 is no line of a validation" in said


def test_without_a_history_it_is_one_line(validated, tmp_path, capsys):
    bundle = shutil.copytree(validated, tmp_path / "bundle")
    shutil.rmtree(bundle / FILE.parent)
    assert main(["report", str(bundle), "--history"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "has no history; run 'mobilemod validate" in said


def test_another_export_to_the_folder_keeps_it(validated, lines, tmp_path):
    keep_history(validated, tmp_path)
    keep_history(tmp_path / "new", tmp_path / "other")
    assert read_history(tmp_path) == lines and not (tmp_path / "other").exists()


def test_files_that_lose_nothing_do_not_look_far_apart(lines):
    even = {"points": 0.0, "low": 0.0, "high": 0.0}
    same = [{**line, "files": [{**f, "drop": even} for f in line["files"]]} for line in lines]
    page = str(history_group(same).html)
    assert ">0.4<" in page and ">-0.4<" in page and ">0.0002<" not in page
    fallen = [{**line, "files": [{**f, "drop": {**even, "points": -3.0}} for f in line["files"]]}
              for line in lines]  # fmt: skip
    assert ">-3<" in str(history_group(fallen).html)
