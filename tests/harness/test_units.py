"""A unit that is wrong is found and said first, and costs nothing that is measured elsewhere."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from html import escape

import pytest

from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.record.junit import junit
from mobilemod.harness.run.validate import validate_devices
from mobilemod.manifest import load_bundle, seal_bundle
from mobilemod.results.advice import advice_text, advise
from mobilemod.results.device.spec import validate_device_record
from mobilemod.results.device.table import text_table
from mobilemod.results.device.units import placement_text, sentence
from mobilemod.results.verdict import state_of
from tests.harness.broken_worker import VARIABLE
from tests.harness.conftest import IMAGES, Host
from tests.harness.test_session import config, nothing_lost
from tests.manifests import model_entry, read_manifest

pytestmark = pytest.mark.alone

INT8, FLOAT, VULKAN = "tiny_int8.tflite", "tiny_float32.tflite", ".vulkan.pte"
CPU = "CPU (built-in kernels"


class Broken(HostDriver):
    """This machine with other kernels than its own: see broken_worker.py."""

    worker = "tests.harness.broken_worker"


@pytest.fixture
def measure(tiny, images, monkeypatch):
    """(record, page) of a machine whose built-in kernels are as is said."""

    def run(how: str):
        monkeypatch.setenv(VARIABLE, how)
        (record,), report = validate_devices(config(tiny, images), Host, lambda _: Broken())
        return record, report.read_text("utf-8")

    return run


def self_tests(record, only=True):
    return {
        f["file"]: c["self_test"]
        for f in record["files"]
        for c in f["configurations"]
        if c["self_test_only"] == only
    }


def measured_is_untouched(record):
    """All that is measured is there and right, and passes its gates."""
    assert record["complete"] and record["counts"]["missing"] == 0
    assert all(f["self_test"]["verdict"] == "right" for f in record["files"])
    assert all(f["configurations"][0]["latency"]["runs"] >= 70 for f in record["files"])
    gates = {v["name"]: state_of(v) for v in record["verdicts"]}
    assert gates["complete"] == "pass"
    assert {state for name, state in gates.items() if "self-test" in name} == {"pass"}


def test_a_machine_that_is_right_says_so_first(tiny, images):
    (record,), report = validate_devices(config(tiny, images), Host)
    nothing_lost(record)
    first = text_table(record).splitlines()[0]
    assert first.startswith("host: Right on CPU (XNNPACK") and "wrong" not in first
    assert f" and {CPU}, nothing delegated)" in first
    assert record["warnings"] == [] and first.removeprefix("host: ") in report.read_text()


def test_a_wrong_unit_is_named_with_how_wrong_it_is(measure, tiny):
    record, page = measure("wrong")
    assert f"self-test, host: {sentence(record)}" in advice_text(advise(load_bundle(tiny)))
    measured_is_untouched(record)
    tests = self_tests(record)
    assert {t["verdict"] for t in tests.values()} == {"runtime"}
    assert tests[INT8]["steps"] > 3 and tests[INT8]["image"] is not None
    assert 0 < tests[FLOAT]["sqnr_db"] < 30 and tests[FLOAT]["steps"] is None
    said = sentence(record)
    assert said.startswith("Right on CPU (XNNPACK") and f", wrong on {CPU}" in said
    assert f"{tests[INT8]['steps']:.0f} steps at golden image {tests[INT8]['image']} of" in said
    text = text_table(record)
    assert text.splitlines()[0] == f"host: {said}"
    assert escape(said) in page
    names = [w["name"] for w in record["warnings"]]
    assert names == [f"self-test: {f} on {CPU})" for f in (INT8, FLOAT)]
    assert all(w["line"] in text for w in record["warnings"])
    suite = ET.fromstring(junit([record]))[0]
    skipped = {c.get("name") for c in suite if c.find("skipped") is not None}
    assert set(names) <= skipped and suite.get("failures") == "0"


@pytest.mark.parametrize("how,reason", [
    ("absent", "no such unit here"), ("refuses", "op 3 isn't taken"),
    ("dies", "the device was lost at it"),
])  # fmt: skip
def test_a_unit_that_is_not_there_is_no_error(measure, how, reason):
    record, page = measure(how)
    measured_is_untouched(record)
    assert record["errors"] == [] and record["warnings"] == []
    for test in self_tests(record).values():
        assert test["verdict"] == "not available" and reason in test["reason"]
    assert f"not available on {CPU}): " in sentence(record) and escape(sentence(record)) in page
    if how == "dies":
        assert record["lost"] and record["counts"]["runs"] >= 3


def test_a_unit_that_fails_within_warns(measure):
    record, page = measure("fails")
    measured_is_untouched(record)
    assert {t["verdict"] for t in self_tests(record).values()} == {"failed"}
    assert all("lost its memory" in e["message"] for e in record["errors"])
    assert len(record["errors"]) == len(record["warnings"]) == 2
    assert f"failed on {CPU}): " in sentence(record)


def test_a_file_that_nothing_runs_is_left_out_and_undecided(measure):
    record, page = measure("no float")
    assert record["complete"] and record["errors"] == [] and record["warnings"] == []
    counts = record["counts"]
    assert (counts["expected"], counts["answered"], counts["missing"]) == (IMAGES, IMAGES, 0)
    int8, other = record["files"]
    assert int8["self_test"]["verdict"] == "right" and int8["configurations"][0]["latency"]
    assert other["self_test"]["reason"] == "no float arithmetic here" and other["accuracy"] is None
    mine = [v for v in record["verdicts"] if FLOAT in v["name"]]
    assert [(v["name"], state_of(v)) for v in mine] == [(f"self-test: {FLOAT}", "undecided")]
    assert "(1 of 2 files)" in sentence(record) and escape(sentence(record)) in page
    assert f"not available on CPU (XNNPACK) of {FLOAT}: no float" in sentence(record)


class Phone(Broken):
    """It takes files that nothing here runs."""

    def suffixes(self):
        return (*super().suffixes(), VULKAN)

    def delegates(self, target):
        return super().delegates(target) or ("vulkan",)


@pytest.mark.parametrize("how,verdict,gate", [
    ("phone", "right", "pass"), ("wrong", "not available", "undecided"),
])  # fmt: skip
def test_a_file_that_runs_on_a_phone_alone(tiny, images, monkeypatch, how, verdict, gate):
    """Its golden outputs are all that there is to hold it against."""
    name = f"tiny_float16{VULKAN}"
    shutil.copyfile(tiny / FLOAT, tiny / name)
    values = read_manifest(tiny)
    values["files"].append(model_entry(tiny / name, "executorch:vulkan", "float16"))
    for golden in values["golden"]:
        golden["logits"][name] = golden["logits"][FLOAT]
    seal_bundle(tiny, values)
    monkeypatch.setenv(VARIABLE, how)
    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: Phone())
    assert record["complete"] and record["errors"] == []
    file = next(f for f in record["files"] if f["file"] == name)
    assert file["self_test"]["verdict"] == verdict
    assert [c["delegate"] for c in file["configurations"]] == ["vulkan"]
    assert [state_of(v) for v in record["verdicts"] if name in v["name"]] == [gate]
    on = "right on" if gate == "pass" else "not available on"
    assert f"{on} " in sentence(record).lower() and "GPU (Vulkan" in sentence(record)


def test_a_record_of_an_older_version_is_still_read_and_shown(measure):
    record, _ = measure("wrong")
    old = json.loads(json.dumps(record))
    del old["warnings"]
    for file in old["files"]:
        file["configurations"] = file["configurations"][:1]
        for key in ("self_test_only", "runtime", "self_test", "placement"):
            del file["configurations"][0][key]
        for key in ("image", "steps", "sqnr_db", "reason", "parts_at"):
            del file["self_test"][key]
        for key in ("accelerated", "placed"):
            del file["placement"][key]
    for planned in old["job"]["configurations"]:
        del planned["self_test_only"]
    old["files"][0]["self_test"] |= {"verdict": "runtime", "pixels_error": 2.5}
    validate_device_record(old, "old", "")
    assert text_table(old).splitlines()[0] == "host: Wrong on CPU (XNNPACK) for 1 of 2 files: 2.5"


@pytest.mark.parametrize("placement,text", [
    (None, ""),
    ({"partitions": None, "fallback": None, "placed": {"Neural Engine": 40, "CPU": 2}},
     "40 ops Neural Engine, 2 ops CPU"),
    ({"partitions": 3, "fallback": {"SOFTMAX": 2}}, "2 ops outside"),
    ({"partitions": 1, "fallback": {}}, "all ops"),
    ({"partitions": None, "fallback": None, "accelerated": True}, "all ops"),
    ({"partitions": None, "fallback": None, "accelerated": False}, "in part"),
    ({"partitions": None, "fallback": None}, ""),
    ({"partitions": 0, "fallback": 7}, "nothing delegated"),
])  # fmt: skip
def test_where_a_file_ran(placement, text):
    assert placement_text(placement) == text
