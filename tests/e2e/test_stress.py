"""`mobilemod stress` on an exported bundle: its gate, its record, and that it goes on."""

from __future__ import annotations

import json

import pytest

from tests.commands import said

IMAGES = 6


@pytest.fixture(scope="module")
def bundle(export, data_dir, tmp_path_factory):
    """The bundled checkpoint's .tflite at 64 pixels, calibrated on real images."""
    out = tmp_path_factory.mktemp("bundle") / "efficientmod_xxs"
    export(out, "--data", data_dir, "--size", "64", "--targets", "tflite")
    return out


@pytest.mark.slow
def test_gate_decides_the_exit_code_and_the_second_run_is_the_same(run, bundle, data_dir, tmp_path):
    arguments = ("stress", bundle, "--data", data_dir, "--images", IMAGES, "--max-mean-drop")
    first = run(*arguments, 100, MOBILEMOD_CACHE=str(tmp_path))
    assert first.returncode == 0, first.stderr
    assert said(first) == []
    kept = sorted(tmp_path.rglob("*.npy"))
    assert len(kept) == 2 * 16
    text = (bundle / "stress" / "stress.json").read_text("utf-8")
    record = json.loads(text)
    assert record["schema"] == "mobilemod/stress/1" and record["images"] == IMAGES
    assert [m["name"] for m in record["models"]] == ["torch float", "tflite int8"]
    assert len(record["conditions"]) == 16
    assert f"mean drop {record['models'][1]['mean_drop']['points']:.2f}" in first.stdout
    stamps = [p.stat().st_mtime_ns for p in kept]
    second = run(*arguments, 0, "--json", "-", MOBILEMOD_CACHE=str(tmp_path))
    again = json.loads(second.stdout)
    worse = record["models"][1]["mean_drop"]["points"] > 0
    assert (second.returncode == 1) == worse, second.stderr
    assert (again.pop("verdicts")[0]["state"] == "fail") == worse
    assert again == {k: v for k, v in record.items() if k != "verdicts"}
    assert [p.stat().st_mtime_ns for p in kept] == stamps
