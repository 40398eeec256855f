"""The same job on an emulated ARM64 processor."""

from __future__ import annotations

import pytest

from mobilemod.errors import UserError
from mobilemod.harness.arm64.emulator import CLASSES, load_emulator
from mobilemod.harness.drivers import get_driver
from mobilemod.harness.run.validate import validate_devices
from tests.harness.conftest import IMAGES, Host
from tests.harness.test_session import config


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


def test_one_thread_is_all_it_has(tiny, images):
    from dataclasses import replace

    from mobilemod.harness.run.job_build import Plan

    two = replace(config(tiny, images, "arm64-emulated"), plan=Plan(threads=(2,)))
    with pytest.raises(UserError, match="at most 1 threads"):
        validate_devices(two, Host)


def test_an_id_is_refused():
    with pytest.raises(UserError, match="give --device arm64-emulated"):
        get_driver("arm64-emulated:1")
