"""A client of adb that hangs, isn't adb, or meets another version's server: one line, exit 2."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb import client as adb_client
from mobilemod.harness.drivers.adb.client import Adb, Device, Listed, choose
from mobilemod.harness.drivers.adb.driver import AdbDriver
from mobilemod.harness.drivers.bounded import run_bounded

pytestmark = pytest.mark.alone

LISTS = 'echo "List of devices attached"; echo "R5   device model:A"; exit 0'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes an `adb` of a shell script, used from then on."""

    def make(script: str) -> Path:
        path = tmp_path / "adb"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("MOBILEMOD_ADB", str(path))
        monkeypatch.setattr(adb_client, "SERVER_SECONDS", 0.5)
        return path

    return make


@pytest.mark.parametrize("hang", ["exec sleep 30", "exec sleep 30 >&- 2>&-"])
@pytest.mark.parametrize(("serial", "command"), [(None, "devices -l"), ("1.2.3.4:5", "connect")])
def test_a_client_that_hangs_is_one_line_with_the_mend(fake, serial, command, hang) -> None:
    fake(hang)
    start = time.monotonic()
    with pytest.raises(UserError, match=f"'adb {command}.*no answer within .*'adb kill-server'"):
        AdbDriver(serial).check()
    assert time.monotonic() - start < 5


def test_a_shell_that_hangs_names_the_command(fake) -> None:
    fake(f'case "$1" in devices) {LISTS};; esac\nexec sleep 30')
    with pytest.raises(DeviceLost, match="shell.*no answer within"):
        Device(Adb(adb_client.find_program()), "R5").run("true", timeout=0.3)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo garbage", "no list of devices.*garbage.*is it adb"),
        ("exit 0", "no list of devices"),
        ("printf '\\377\\000'", "no list of devices"),
        ("echo 'cannot connect to daemon' >&2; exit 1", "cannot connect to daemon; 'adb kill"),
    ],
)
def test_what_is_no_adb_is_said(fake, script, words) -> None:
    fake(script)
    with pytest.raises(UserError, match=words):
        AdbDriver(None).check()


def test_a_server_of_another_version_is_told(fake, capsys) -> None:
    fake(f'echo "adb server version (41) doesn\'t match this client (39); killing..." >&2\n{LISTS}')
    assert Adb(adb_client.find_program()).devices() == [Listed("R5", "device", "A")]
    assert "version (41) doesn't match this client (39): two adb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("authorizing", "allow USB debugging"),
        ("connecting", "wait a few seconds"),
        ("sideload", "start Android"),
        ("rescue", "start Android"),
        ("host", "file transfer"),
        ("no permissions", "udev"),
        ("a new state", "adb devices"),
    ],
)
def test_every_state_says_what_to_do(state, words) -> None:
    with pytest.raises(UserError, match=f"R5 is {state}: .*{words}"):
        choose([Listed("R5", state, None)], None)


def test_a_program_that_closes_its_output_and_goes_on_has_a_deadline() -> None:
    with pytest.raises(DeviceLost, match="no answer within"):
        run_bounded(["sh", "-c", "exec sleep 20 >&- 2>&-"], 0.3)
