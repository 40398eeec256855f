"""The self-test names the fault that is there; gates and JUnit say what a record holds."""

from __future__ import annotations

import copy
import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.harness.record.gates import DeviceGates, check_record, warnings
from mobilemod.harness.record.junit import junit
from mobilemod.harness.record.likeness import Numbers, output_step, tolerance
from mobilemod.harness.record.selftest import (
    SIZE_FAULTS,
    VALUE_FAULTS,
    judge,
)
from mobilemod.harness.run.validate import validate_devices
from mobilemod.harness.worker.runtimes import load_tflite
from mobilemod.manifest import load_bundle
from mobilemod.results.device.table import text_table
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page
from mobilemod.results.verdict import state_of
from mobilemod.tasks import task_of
from tests.harness.conftest import Host
from tests.harness.test_session import config


@pytest.fixture(scope="module", params=["tiny_float32.tflite", "tiny_int8.tflite"])
def golden(request, tiny_source):
    """(file's precision, its run, golden images, manifest's logits, preprocessing)."""
    loaded = load_tflite(tiny_source / request.param)
    preprocess = load_bundle(tiny_source).preprocess
    rng = np.random.default_rng(4)
    # As photographs are: what lies side by side is alike.
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(3)]
    images = [Image.fromarray(draw_card(32)), *(c.resize((32, 32)) for c in coarse)]

    def run(x: np.ndarray) -> np.ndarray:
        return np.stack([loaded.infer(loaded.prepare(image[None])) for image in x])

    expected = run(preprocess.normalize(np.stack([np.asarray(i) for i in images])))
    precision = "int8" if "int8" in request.param else "float32"
    return precision, run, images, expected, preprocess


def verdict(golden, pixels, own):
    precision, run, images, expected, preprocess = golden
    answered = {"pixels": dict(enumerate(pixels)), "image": dict(enumerate(own))}
    return judge(expected, Numbers.of(expected, precision), answered, images, preprocess, run)


def through(golden, variant) -> np.ndarray:
    _, run, images, _, preprocess = golden
    return run(np.stack([variant(i, preprocess) for i in images]))


def right(image, preprocess):
    return preprocess.normalize(preprocess.pixels(image))


def test_a_device_that_does_as_the_host_is_right(golden):
    test = verdict(golden, golden[3], through(golden, right))
    assert (test.verdict, test.fault) == ("right", None)
    assert test.pixels_error == 0.0 and test.image_error == 0.0


def test_another_decoder_is_no_fault(golden):
    """Pixels a step off here and there."""
    rng = np.random.default_rng(0)

    def rough(image, preprocess):
        pixels = preprocess.pixels(image).astype(int) + rng.integers(-2, 3, (32, 32, 3))
        return preprocess.normalize(pixels.clip(0, 255).astype(np.uint8))

    assert verdict(golden, golden[3], through(golden, rough)).verdict == "right"


@pytest.mark.parametrize("fault", [*VALUE_FAULTS, *SIZE_FAULTS])
def test_a_preprocessing_fault_is_named(golden, fault):
    if fault == "wrong resampling: bicubic":
        return  # that is the right one
    variant = {**VALUE_FAULTS, **SIZE_FAULTS}[fault]
    observed = through(golden, variant)
    same = [name for name, other in {**VALUE_FAULTS, **SIZE_FAULTS}.items()
            if np.array_equal(through(golden, other), observed)]  # fmt: skip
    if np.abs(observed - through(golden, right)).max() <= tolerance(golden[3], golden[0]):
        pytest.skip("too small for this network to show")
    test = verdict(golden, golden[3], observed)
    assert test.verdict == "preprocessing" and test.fault in same


@pytest.mark.parametrize("fault", VALUE_FAULTS)
def test_a_fault_behind_the_crop_is_named_too(golden, fault):
    """Fed wrongly both ways: still no fault of the runtime."""
    _, run, images, _, preprocess = golden
    whole = type(preprocess)(**{**preprocess.to_dict(), "crop_fraction": 1.0})
    pixels = run(np.stack([VALUE_FAULTS[fault](i, whole) for i in images]))
    test = verdict(golden, pixels, through(golden, VALUE_FAULTS[fault]))
    assert (test.verdict, test.fault) == ("preprocessing", fault)


@pytest.mark.parametrize("fault", VALUE_FAULTS)
def test_a_rectangles_fault_is_named(fault):
    """Rows for columns are then values in the wrong order, of an input that is no other."""
    preprocess = Preprocess((24, 40), 0.9)
    weights = np.random.default_rng(1).normal(size=(5, 3 * 24 * 40))
    images = [Image.fromarray(draw_card(24, 40)), Image.fromarray(draw_card(60, 70))]

    def run(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1) @ weights.T

    ours = run(np.stack([right(i, preprocess) for i in images]))
    theirs = run(np.stack([VALUE_FAULTS[fault](i, preprocess) for i in images]))
    answered = {"pixels": {0: ours[0]}, "image": dict(enumerate(theirs))}
    test = judge(ours, Numbers.of(ours, "float32"), answered, images, preprocess, run)
    assert (test.verdict, test.fault) == ("preprocessing", fault)


def test_wrong_arithmetic_is_a_runtime_fault(golden):
    wrong = golden[3][:, ::-1] + 0.5
    test = verdict(golden, wrong, wrong)
    assert (test.verdict, test.fault) == ("runtime", None)
    test = verdict(golden, np.full_like(golden[3], np.nan), through(golden, right))
    assert test.verdict == "runtime" and test.pixels_error is None


def test_nothing_answered_is_not_run(golden):
    precision, run, images, expected, preprocess = golden
    test = judge(expected, Numbers.of(expected, precision), {}, images, preprocess, run)
    assert test.verdict == "not run"


def test_tolerance():
    logits = np.array([[0.0, 0.05, 0.15001], [0.05, -0.2, 0.5]])
    assert output_step(logits) == pytest.approx(0.05)
    assert tolerance(logits, "int8") == pytest.approx(0.251)
    assert tolerance(logits, "float32") == 0.001
    assert tolerance(logits, "float16") == pytest.approx(0.011)
    assert output_step(np.zeros((2, 3))) == 0.0


# -- gates


@pytest.fixture(scope="module")
def measured(tiny_source, images, tmp_path_factory):
    """The record of a run, which nobody may change."""
    tiny = tmp_path_factory.mktemp("measured") / "bundle"
    shutil.copytree(tiny_source, tiny)
    (found,), _ = validate_devices(config(tiny, images), Host)
    return found


@pytest.fixture
def record(measured):
    return copy.deepcopy(measured)


def lines(record, **limits):
    return {v.name: v for v in check_record(record, DeviceGates(**limits))}


def test_every_limit_judges_what_was_measured(record):
    int8 = next(f for f in record["files"] if f["precision"] == "int8")
    int8["accuracy"]["reference"]["top1_percent"] = 90.0
    int8["accuracy"]["drop"] |= {"points": 2.0, "lost": 1, "won": 0, "low": 0.0, "high": 10.0}
    int8["configurations"][0]["latency"]["p90_ms"] = 5.0
    int8["configurations"][0]["sustained"] = {"loss_percent": 12.0}
    int8["placement"] = {"source": "device", "partitions": 1, "fallback": {"SOFTMAX": 3}}
    record["comparisons"][0]["ratio"] = 1.5
    name = "tiny_int8.tflite"
    cases = [
        ({"max_drop": 1.9, "max_upper": 100}, f"drop: {name}", False),
        ({"max_drop": 2.0, "max_upper": 100}, f"drop: {name}", True),
        ({"max_drop": 2.0, "max_upper": 9}, f"drop: {name}", False),
        ({"min_agreement": 100}, f"{name}: agreement with the host", True),
        ({"max_p90_ms": 4.9}, f"{name}, 1 thread, xnnpack: p90", False),
        ({"max_p90_ms": 5.0}, f"{name}, 1 thread, xnnpack: p90", True),
        ({"max_sustained_loss": 11}, f"{name}, 1 thread, xnnpack: sustained loss", False),
        ({"max_sustained_loss": 12}, f"{name}, 1 thread, xnnpack: sustained loss", True),
        ({"no_fallback": True}, f"{name}: ops outside the delegate (says the device)", False),
        ({"min_speedup": 1.6}, f"{name}, 1 thread: faster than tiny_float32.tflite", False),
        ({"min_speedup": 1.5}, f"{name}, 1 thread: faster than tiny_float32.tflite", True),
    ]
    for limits, verdict_name, passed in cases:
        found = lines(record, **limits)
        assert found[verdict_name].passed == passed, found[verdict_name].line


def test_what_was_not_measured_fails_a_limit_that_is_given(record):
    for file in record["files"]:
        file["accuracy"] = None
        file["configurations"][0]["latency"] = None
    record["comparisons"] = []
    found = lines(record, max_p90_ms=5, max_sustained_loss=5, min_speedup=1.1)
    failed = [v.line for v in found.values() if not v.passed]
    assert sum("not measured" in line for line in failed) == 5
    assert sum("not known" in line for line in failed) == 1


def test_an_error_or_a_missing_answer_fails_the_first_gate(record):
    assert check_record(record, DeviceGates())[0].passed
    record["errors"] = [{"message": "no memory"}]
    assert check_record(record, DeviceGates())[0].line.endswith("fail; no memory")
    record["errors"], record["counts"]["missing"] = [], 1
    assert not check_record(record, DeviceGates())[0].passed


def test_gates_are_read_and_a_misspelled_key_is_an_error(tmp_path):
    path = tmp_path / "gates.toml"
    path.write_text("max_drop = 1\nno_fallback = true\nmax_p90_ms = 12.5\n")
    assert DeviceGates.read(path) == DeviceGates(max_drop=1, no_fallback=True, max_p90_ms=12.5)
    for text, says in (
        ("max_dorp = 1", "unknown gate 'max_dorp'; known: max_drop"),
        ("max_drop = true", "max_drop must be a number from 0 to 100 points, not True"),
        ("self_test = 1", "self_test must be true or false, not 1"),
        ("max_drop = 'x'", "max_drop must be a number"),
        ("max_dop = 1", "did you mean 'max_drop'?"),
        ("max_drop = nan", "max_drop must be a number from 0 to 100 points, not nan"),
        ("max_drop = -0.1", "from 0 to 100 points"),
        ("max_upper = 0", "max_upper must be a number above 0 to 100 points, not 0"),
        ("max_upper = inf", "max_upper must be"),
        ("min_agreement = 101", "from 0 to 100 percent"),
        ("max_p90_ms = -1", "milliseconds"),
        ("min_speedup = 0", "above 0 to 1,000 times"),
        ("max_sustained_loss = nan", "percent"),
        ("max_drop", "is no TOML"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=says):
            DeviceGates.read(path)
    with pytest.raises(UserError, match="no such file"):
        DeviceGates.read(tmp_path / "none.toml")


def test_junit_holds_every_verdict(record):
    for v in record["verdicts"]:
        v["passed"] = True
    record["verdicts"][0] |= {"passed": False, "line": 'a "b" <c> \x00 \ud800: fail'}
    root = ET.fromstring(junit([record]).encode())
    (suite,) = root
    assert suite.get("tests") == str(len(record["verdicts"])) and suite.get("failures") == "1"
    assert [c.get("name") for c in suite] == [v["name"] for v in record["verdicts"]]
    assert suite[0][0].get("message") == 'a "b" <c> \ufffd \ufffd: fail'
    json.dumps(record["verdicts"])
    record["verdicts"][1] |= {"passed": False, "state": "undecided", "line": "too few"}
    (suite,) = ET.fromstring(junit([record]).encode())
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert suite[1][0].tag == "skipped" and suite[1][0].get("message") == "too few"


def test_a_debug_build_is_a_warning(record):
    app = {"name": "io.mobilemod.app", "version": "0.1.0"}
    for build, found in (("debug", ["app"]), ("benchmark", []), (None, [])):
        record["device"]["app"] = app | ({"build": build} if build else {})
        record["warnings"] = warnings(record)
        assert [w["name"] for w in record["warnings"]] == found
        assert ("a debug build, whose times" in text_table(record)) == bool(found)
        html = page(Known("m", task_of(record), devices=(record,), records=(record,)))
        assert (f"{build} build" in html) == (build is not None)


def test_devices_with_an_undecided_gate_are_amber(record):
    for v in record["verdicts"]:
        v |= {"passed": True, "state": "pass"}
    known = Known("m", task_of(record), devices=(record,), records=(record,))
    assert "All 6 gates passed; 1 warning" in page(known)
    needed = {"reason": "too few", "images_needed": 3566}
    record["verdicts"][1] |= {"passed": False, "state": "undecided", **needed}
    html = page(known)
    assert "5 of 6 gates passed, 1 undecided: about 3,566 images are needed" in html
    assert 'class="badge undecided"' in html and "gates failed" not in html
    old = {"passed": True, "line": "f: undecided, 40 images are too few"}
    assert state_of(old) == "undecided"


def test_a_reference_near_chance_is_undecided_on_devices_too(record):
    """The tiny network's weights are drawn, so its float file guesses."""
    int8 = next(f for f in record["files"] if f["precision"] == "int8")
    verdict = lines(record, max_drop=100, max_upper=200)[f"drop: {int8['file']}"]
    assert verdict.state == "undecided" and "near chance" in verdict.line
    int8["accuracy"]["reference"]["top1_percent"] = 90.0
    int8["accuracy"]["drop"] |= {"points": -90.0, "low": -99.0, "high": -80.0, "lost": 0, "won": 18}
    verdict = lines(record, max_drop=100, max_upper=200)[f"drop: {int8['file']}"]
    assert verdict.state == "undecided" and "the labels aren't" in verdict.line
