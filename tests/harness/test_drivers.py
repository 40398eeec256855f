"""The list of drivers, and the host's."""

from __future__ import annotations

import os
import sys

import pytest

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DRIVERS, DeviceLost, get_driver, kind_of
from mobilemod.harness.drivers.adb.runners import App
from mobilemod.harness.drivers.process import stream_process
from mobilemod.harness.protocol.job import DELEGATES
from mobilemod.harness.run.validate import folder_name
from mobilemod.results.device.units import unit_words
from mobilemod.targets import TARGETS


def test_an_unknown_device_lists_the_known_ones():
    with pytest.raises(
        UserError, match="unknown device 'toaster'; known: adb, arm64-emulated, browser"
    ):
        get_driver("toaster")


@pytest.mark.parametrize("name", ["adb:", "adb:a b", "adb:$(id)", "adb:../x", "adb:a/b", "adb:'"])
def test_an_id_that_a_shell_or_a_path_would_read(name):
    with pytest.raises(UserError, match="an id has letters, digits"):
        get_driver(name)


def test_there_is_one_host():
    with pytest.raises(UserError, match="there is one host"):
        get_driver("host:2")
    driver = get_driver("host")
    driver.check()
    assert {".tflite", ".pte"} >= set(driver.suffixes()) >= {".tflite"}
    assert set(DRIVERS) == {"host", "arm64-emulated", "adb", "iphone", "browser"}


@pytest.mark.parametrize("runs,expected", [
    (get_driver("iphone").runs, {".mlpackage": 4, ".pte": 1, ".coreml.pte": 1}),
    (App.runs, {".tflite": 3, ".pte": 1, ".vulkan.pte": 1}),
    (get_driver("browser").runs, {".tflite": 2}),
])  # fmt: skip
def test_phones_take_the_files_of_their_engines_on_every_unit(runs, expected):
    assert {TARGETS[name].suffix: len(units) for name, units in runs.items()} == expected
    assert {unit for units in runs.values() for unit in units} <= set(DELEGATES)
    assert all(unit_words(unit) != unit for units in runs.values() for unit in units)


def test_names_of_folders():
    assert folder_name("adb:192.168.1.5:5555") == "adb_192.168.1.5_5555"
    assert kind_of("adb:192.168.1.5:5555") == "adb"


def run(code: str, receive) -> None:
    stream_process([sys.executable, "-c", code], receive, os.environ)


def test_a_process_that_fails_is_a_lost_device_with_its_last_words():
    got: list[bytes] = []
    code = "import sys; print('x'); sys.stderr.write('first\\nno memory\\n\\n'); sys.exit(7)"
    with pytest.raises(DeviceLost, match="ended with code 7: no memory"):
        run(code, got.append)
    assert b"".join(got) == b"x\n"
    with pytest.raises(DeviceLost, match="was killed by signal 9: it said nothing"):
        run("import os; os.kill(os.getpid(), 9)", got.append)


def test_a_process_that_says_nothing_can_be_stopped():
    calls = []

    def receive(data: bytes) -> None:
        calls.append(data)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("import time; time.sleep(600)", receive)
    assert calls == [b""]
