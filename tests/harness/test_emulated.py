"""The same job on an emulated ARM64 processor."""

from __future__ import annotations

import pytest

from export.targets.target import target_of_file
from mobilemod.errors import UserError
from mobilemod.harness.arm64.emulator import CLASSES, load_emulator
from mobilemod.harness.bench.bench import bench
from mobilemod.harness.bench.instructions import (
    compare_with_baseline,
    read_baseline,
    write_baseline,
)
from mobilemod.harness.drivers import get_driver
from mobilemod.harness.run.validate import validate_devices
from mobilemod.manifest import load_bundle
from tests.harness.conftest import IMAGES, Host
from tests.harness.test_maps import MapsHost
from tests.harness.test_session import config
from tests.tiny_maps import draw_scenes, make_maps_bundle


@pytest.fixture(scope="module", autouse=True)
def emulator():
    """The root that 'make arm64' sets up."""
    try:
        return load_emulator()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_a_bundle_on_an_emulated_processor(tiny, images):
    """Answers and counts of instructions, and never a latency."""
    (record,), report = validate_devices(config(tiny, images, "arm64-emulated"), Host)
    assert record["complete"] and record["counts"]["answered"] == 2 * IMAGES
    assert record["counts"]["timed"] == 0 and record["job"]["latency"] is None
    assert "ARM" in record["device"]["facts"]["processor"]
    for file in record["files"]:
        assert file["self_test"]["verdict"] == "right"
        assert file["accuracy"]["host"]["top1_percent"] == 100.0
        counted = file["instructions"]
        assert counted["total"] == sum(counted["classes"].values()) > 0
        assert set(counted["classes"]) == set(CLASSES)
    assert "Executed instructions" in report.read_text()


@pytest.mark.slow
def test_a_bundle_of_maps_on_an_emulated_processor(tmp_path):
    tiny = make_maps_bundle(tmp_path / "bundle")
    scenes = load_bundle(tiny).read(draw_scenes(tmp_path / "data", 2), "val")
    (record,), _ = validate_devices(config(tiny, scenes, "arm64-emulated"), MapsHost)
    assert record["complete"] and record["counts"]["answered"] == 4
    for file in record["files"]:
        assert {c["self_test"]["verdict"] for c in file["configurations"]} == {"right"}
        assert file["accuracy"]["host"]["pixel_agreement_percent"] > 99
        assert file["accuracy"]["drop"] is not None and file["instructions"]["total"] > 0


@pytest.mark.slow
def test_bench_counts_and_holds_the_outputs_against_this_machines(tiny, tmp_path):
    """The counts of a bundle's files and of one of them alone, and never a latency."""

    def load(path):
        return target_of_file(path).load(path)

    record, _ = bench(tiny, "arm64-emulated", load)
    again, _ = bench(tiny / "tiny_int8.tflite", "arm64-emulated", load)
    environment = record["environment"]
    assert environment["processor"] == "cortex-a76" and environment["qemu"].startswith("1:7.2")
    assert "ai-edge-litert" in str(environment["wheels"])
    for file in record["files"]:
        assert "latency" not in file and "load" not in file
        assert file["instructions"]["spread"] == 0 and file["runtime"].startswith("LiteRT")
        assert file["logits"]["count"] == 10 and file["logits"]["max_difference"] < 0.06
    write_baseline(record, tmp_path / "counts.json")
    (verdict,) = compare_with_baseline(again, read_baseline(tmp_path / "counts.json"))
    assert verdict.passed, verdict.line


def test_one_thread_is_all_it_has(tiny, images):
    from dataclasses import replace

    from mobilemod.harness.run.job_build import Plan

    two = replace(config(tiny, images, "arm64-emulated"), plan=Plan(threads=(2,)))
    with pytest.raises(UserError, match="at most 1 threads"):
        validate_devices(two, Host)


def test_an_unknown_processor_is_refused():
    with pytest.raises(UserError, match="unknown emulated processor '1'; known: cortex-a53"):
        get_driver("arm64-emulated:1")
