"""Two records side by side: what they hold of each image is paired, the rest told as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mobilemod
from export.comparing.text import comparison_text
from export.verbs.main import main
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.evaluation.outcomes import Outcomes
from mobilemod.files import write_json
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.run.validate import validate_devices
from mobilemod.results.schema import build_record
from mobilemod.sealed import sealed
from mobilemod.tasks import get_task
from tests.harness.conftest import Host
from tests.harness.test_session import config
from tests.tiny_bundle import IDS, make_bundle

IMAGES, LABELS = 40, list("abcd")
TARGETS = np.arange(IMAGES) % len(LABELS)
NAMES = [f"{LABELS[t]}/{i}.png" for i, t in enumerate(TARGETS)]
INFO = {"model": "toy", "recipe": {"name": "cpu"}, "tools": {"torch": "2.1"}}


def validation(path: Path, wrong: set[int], names: list[str] = NAMES, **info) -> Path:
    """A sealed record of a network that is right, and of an int8 file that is wrong on these."""
    right = np.eye(len(LABELS), dtype=np.float32)[TARGETS[: len(names)]]
    int8 = right.copy()
    for i in wrong:
        int8[i] = np.roll(int8[i], 1)
    models = [
        Predictions("torch float", right, "reference", None, "PyTorch 2.1"),
        Predictions("tflite int8", int8, "int8", "toy.tflite", "LiteRT 2"),
    ]
    about = {**INFO, "files": {"toy.tflite": {"bytes": 1000}}, **info}
    record = build_record(models, TARGETS[: len(names)], LABELS, names, [], about, {})
    write_json(path, sealed(record))
    return path


def test_validations_are_paired_image_by_image(tmp_path, capsys):
    a = validation(tmp_path / "a.json", {0, 1, 2})
    b = validation(tmp_path / "b.json", {2, 3, 4, 5, 6}, tools={"torch": "2.2"})
    record = mobilemod.compare(a, b)
    (row,) = (r for r in record["rows"] if r["name"] == "tflite int8")
    found = row["accuracy"]
    assert record["images"] == IMAGES and record["of"] == "validation"
    assert found["worse"] == [NAMES[i] for i in (3, 4, 5, 6)]
    assert found["better"] == [NAMES[i] for i in (0, 1)]
    drop = found["drop"]
    assert (drop["points"], drop["lost"], drop["won"]) == (100 * 2 / IMAGES, 4, 2)
    before, now = (np.array([i not in w for i in range(IMAGES)])
                   for w in ({0, 1, 2}, {2, 3, 4, 5, 6}))  # fmt: skip
    expected = get_task("classification").drop_of(before, now)
    assert (drop["low"], drop["high"]) == (expected.low, expected.high)
    assert record["tools"] == {"torch": ["2.1", "2.2"]} and record["notes"] == []
    out = tmp_path / "c.json"
    assert main(["compare", str(a), str(b), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert json.loads(out.read_text()) == record and comparison_text(record) in text
    assert f"tflite int8, wrong in B alone: {NAMES[3]}, {NAMES[4]}" in text
    assert "torch: 2.1 in A, 2.2 in B" in text and "5.00  [" in text


def test_images_in_one_alone_are_left_out_and_told(tmp_path):
    a, b = validation(tmp_path / "a.json", {39}), validation(tmp_path / "b.json", {0}, NAMES[:30])
    record = mobilemod.compare(a, b)
    assert record["images"] == 30
    assert record["notes"] == ["A: 10 images that the other lacks are left out"]
    (row,) = (r for r in record["rows"] if r["name"] == "tflite int8")
    assert row["accuracy"]["metric"] == [100, pytest.approx(100 * 29 / 30)]


def test_an_older_record_is_told_apart_and_not_paired(tmp_path):
    a, b = validation(tmp_path / "a.json", set()), validation(tmp_path / "b.json", {0, 1})
    values = json.loads(a.read_text())
    del values["outcomes"]
    write_json(a, sealed(values))
    record = mobilemod.compare(a, b)
    assert record["notes"] == ["A has no image's outcome: what B loses is not paired"]
    row = record["rows"][1]
    assert row["accuracy"] is None and row["a"]["metric"] == 100 and row["b"]["metric"] == 95
    assert "95.00" in comparison_text(record)


def test_maps_are_paired_too(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (6, 8, 8), dtype=np.uint8)
    names, paths = [f"{i}.jpg" for i in range(6)], []
    outputs = [truth.copy(), truth.copy()]
    outputs[1][2, :4] = (outputs[1][2, :4] + 1) % 3
    for i, maps in enumerate(outputs):
        models = [Predictions("torch float", truth, "reference"),
                  Predictions("toy int8", maps, "int8", "toy.tflite")]  # fmt: skip
        values = build_record(models, truth, list("abc"), names, (), INFO, {}, task="segmentation")
        paths.append(tmp_path / f"{i}.json")
        write_json(paths[-1], sealed(values))
    record = mobilemod.compare(*paths)
    task = get_task("segmentation")
    found = record["rows"][1]["accuracy"]
    expected = task.drop(*outputs, truth)
    assert found["worse"] == ["2.jpg"] and found["better"] == []
    assert (found["drop"]["points"], found["drop"]["high"]) == (expected.points, expected.high)
    assert "worse mIoU in B: 2.jpg" in comparison_text(record)


def refused(capsys, *args: object) -> str:
    assert main(["compare", *map(str, args)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_can_not_be_compared_is_one_line(tmp_path, capsys, monkeypatch):
    a = validation(tmp_path / "a.json", set())
    others = [f"other/{name}" for name in NAMES]
    b = validation(tmp_path / "b.json", set(), others)
    assert "are of other images" in refused(capsys, a, b)
    swapped = [*NAMES[1:], NAMES[0]]
    line = refused(capsys, a, validation(tmp_path / "c.json", set(), swapped))
    assert "other labels for 40 of 40 images" in line
    values = json.loads(a.read_text())
    values["data"]["labels"] = list("abce")
    write_json(tmp_path / "d.json", sealed(values))
    assert "other classes or tasks" in refused(capsys, a, tmp_path / "d.json")
    values["data"]["images"] = 41
    write_json(tmp_path / "e.json", values)
    assert "digest differs" in refused(capsys, a, tmp_path / "e.json")
    values = json.loads(a.read_text())
    values["outcomes"]["scored"]["tflite int8"] = "AAAA"
    write_json(tmp_path / "f.json", sealed(values))
    assert "outcomes are damaged" in refused(capsys, a, tmp_path / "f.json")
    (tmp_path / "g.json").write_text("{}")
    assert "no record to compare" in refused(capsys, a, tmp_path / "g.json")
    assert "give two bundles or two records" in refused(capsys, a, tmp_path)
    assert "--limit goes with bundles" in refused(capsys, a, a, "--limit", "3")
    assert "--time goes with bundles" in refused(capsys, a, a, "--time")
    assert "--data goes with bundles" in refused(capsys, a, a, "--data", tmp_path / "data")
    monkeypatch.setenv("MOBILEMOD_DATA", str(tmp_path))
    assert main(["compare", str(a), str(a)]) == 0
    with pytest.raises(UserError, match="data goes with bundles"):
        mobilemod.compare(a, a, tmp_path)


@pytest.fixture(scope="module")
def devices(tiny_source, images, tmp_path_factory) -> list[Path]:
    """The records of two networks on this machine as a device."""
    root, paths = tmp_path_factory.mktemp("devices"), []
    other = make_bundle(root / "other", seed=5)
    for source in (tiny_source, other):
        folder = Path(shutil.copytree(source, root / f"{len(paths)}"))
        validate_devices(config(folder, images), Host, lambda _: HostDriver())
        paths += folder.glob("devices/*/*/record.json")
    return paths


def test_devices_records_are_paired_with_their_latencies(devices, tmp_path, images):
    a, b = devices
    record = mobilemod.compare(a, b)
    values = [json.loads(path.read_text()) for path in devices]
    assert record["of"] == "device" and record["images"] == len(images.samples)
    for i, row in enumerate(record["rows"]):
        told = [v["files"][i]["accuracy"]["top1_percent"] for v in values]
        assert row["accuracy"]["metric"] == pytest.approx(told)
        found = row["accuracy"]["drop"]
        assert found["points"] == pytest.approx(told[0] - told[1])
        assert found["lost"] == len(row["accuracy"]["worse"])
        (one,) = row["latency"]
        p50 = [v["files"][i]["configurations"][0]["latency"]["p50_ms"] for v in values]
        assert [one["a"]["p50_ms"], one["b"]["p50_ms"]] == p50
        assert one["ratio"] == pytest.approx(p50[1] / p50[0])
    text = comparison_text(record)
    assert "p50 ms A" in text and "20 images, the same for both, paired" in text
    # What --json wrote holds the same record in a list, unsealed.
    wrapped = tmp_path / "json.json"
    write_json(wrapped, {"schema": "mobilemod/harness-records/1", "records": [values[0]]})
    again = mobilemod.compare(wrapped, b)
    assert again["rows"] == record["rows"]


def test_other_devices_times_have_no_ratio(devices, tmp_path, capsys):
    a, b = devices
    values = json.loads(b.read_text())
    values["comparable"]["latency"]["fields"]["processor"] = "another"
    write_json(tmp_path / "b.json", sealed(values))
    record = mobilemod.compare(a, tmp_path / "b.json")
    assert all(one["ratio"] is None for row in record["rows"] for one in row["latency"])
    assert "latency is of another processor" in record["notes"]
    assert "are of other images" in refused(capsys, a, validation(tmp_path / "v.json", set()))


def test_a_validation_is_paired_with_a_device(devices, tmp_path):
    there = json.loads(devices[0].read_text())
    names = {f["file"]: f"{f['target']} {f['precision']}" for f in there["files"]}
    told = Outcomes.from_dict(there["outcomes"])
    changed, targets = 3, np.array([IDS.index(name.split("/")[0]) for name in told.names])
    answer = np.eye(len(IDS))
    models = [Predictions("torch float", answer[targets], "reference", None, "PyTorch 2.1")]
    for file, right in told.scored.items():
        # Answers here as there, but for one image.
        here = np.where(np.arange(len(right)) == changed, ~right, right)
        answers = answer[np.where(here, targets, (targets + 1) % len(IDS))]
        models.append(Predictions(names[file], answers, "int8", file, "LiteRT 2"))
    values = build_record(models, targets, IDS, told.names, [], INFO, {})
    path = tmp_path / "validation.json"
    write_json(path, sealed(values))
    record = mobilemod.compare(path, devices[0])
    assert record["of"] == "validation, device" and record["notes"] == []
    assert record["images"] == len(told.names) and record["only"]["a"] == ["torch float"]
    for file, right in told.scored.items():
        row = next(r for r in record["rows"] if r["name"] == names[file])
        was_right = [told.names[changed]]
        assert row["accuracy"]["better"] == (was_right if right[changed] else [])
        assert row["accuracy"]["worse"] == ([] if right[changed] else was_right)
        assert row["latency"] == []
    assert f"{len(told.names)} images, the same for both, paired" in comparison_text(record)


@pytest.mark.parametrize("values", [{"names": "", "targets": "", "scored": {}}, {"names": "!"}])
def test_outcomes_that_can_not_be_read_are_said(values):
    with pytest.raises((ValueError, KeyError)):
        Outcomes.from_dict(values)


def test_a_stream_that_was_cut_is_no_outcome():
    whole = Outcomes.of(["a", "b"], [0, 1], {"m": np.array([True, False])}).to_dict()
    assert Outcomes.from_dict(whole).scored["m"].tolist() == [True, False]
    for names in (whole["names"][:8], whole["targets"]):
        with pytest.raises(ValueError):
            Outcomes.from_dict({**whole, "names": names})
    one = Outcomes.of(["a"], [0], {"m": np.array([True])}).to_dict()
    with pytest.raises(ValueError, match="not every part is of 2 images"):
        Outcomes.from_dict({**whole, "scored": one["scored"]})
