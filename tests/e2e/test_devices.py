"""`mobilemod validate --device` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.test_faults import fails
from tests.tiny_bundle import make_bundle

IMAGES = 24


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def test_bad_input_is_one_line(here, tiny, tmp_path):
    gates = tmp_path / "gates.toml"
    gates.write_text("max_drob = 1\n")
    fails(here("validate", tiny, "--device", "host", "--gates", gates), "unknown gate 'max_drob'")
    words = ("--device", "host,phone", "--audit-only")
    fails(here("validate", tiny, *words), "unknown device 'phone'", "browser")
    assert not (tiny / "devices").exists() or not list((tiny / "devices").rglob("record.json"))


@pytest.mark.slow
def test_without_images_speed_is_measured_alone(run, tiny):
    process = run("validate", tiny, "--device", "host", "--quick", "--audit-only", "--json", "-")
    assert process.returncode == 0, process.stderr
    (record,) = json.loads(process.stdout)["records"]
    assert record["counts"]["sent"] == 0
    for file in record["files"]:
        assert file["accuracy"] is None and file["self_test"]["verdict"] == "right"
        assert file["configurations"][0]["latency"]["runs"] >= 64


@pytest.mark.slow
def test_the_bundled_network_on_this_machine(run, export, data_dir, tmp_path):
    """Float against int8 paired, answers equal to those of 'mobilemod validate', bit by bit."""
    bundle = tmp_path / "efficientmod_xxs"
    export(bundle, "--targets", "tflite,executorch", "--size", "64", "--data", data_dir)
    options = ("--data", data_dir, "--limit", IMAGES, "--quick", "--json")
    process = run("validate", bundle, "--device", "host", *options, "-")
    # Nothing fails; so few images decide nothing.
    assert process.returncode in (0, 4), process.stderr
    (record,) = json.loads(process.stdout)["records"]
    counts = record["counts"]
    assert (counts["sent"], counts["answered"], counts["missing"]) == (IMAGES, 4 * IMAGES, 0)
    for file in record["files"]:
        assert file["self_test"]["verdict"] == "right"
        assert file["accuracy"]["host"]["identical"] == IMAGES
        if file["precision"] != "int8":
            assert file["accuracy"]["drop"]["points"] == 0.0
    assert len(record["comparisons"]) == 2
    plain = run("validate", bundle, "--data", data_dir, "--limit", IMAGES, "--json", "-")
    by_file = {p["file"]: p for p in json.loads(plain.stdout)["predictions"]}
    for file in record["files"]:
        assert file["accuracy"]["top1_percent"] == by_file[file["file"]]["top1_percent"]
    shutil.rmtree(bundle)


def test_validate_without_images_is_refused(here, tiny):
    fails(here("validate", tiny), "--data DIR", "--audit-only")
    fails(here("validate", tiny, "--device", "host"), "--data DIR", "--audit-only")
    fails(here("harness", "serve", tiny), "--data DIR", "--audit-only")
    assert not (tiny / "report").exists()
