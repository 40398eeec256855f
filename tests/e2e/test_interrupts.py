"""SIGINT and SIGTERM: the exit codes that shells expect, nothing left, and the work goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.commands import COMMAND, ROOT
from tests.interrupts import interruptible
from tests.toys import TOY, at, environment, make_tree

pytestmark = pytest.mark.alone

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def start(folder: Path, environment: dict, *words: object) -> subprocess.Popen:
    """The command in a session of its own, so that what it leaves can be found."""
    return interruptible(
        [*COMMAND, *map(str, words)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == session:
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    found += [int(entry.name)] if state != "Z" else []
            except (OSError, IndexError):
                continue
    return found


def stop(process: subprocess.Popen, number: int, code: int) -> None:
    """Send the signal: one line, the code, and nothing that still runs."""
    begin = time.monotonic()
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "interrupted; run the same command again to go on" in said.splitlines()[-1]
    assert "Traceback" not in said
    while members(process.pid) and time.monotonic() < begin + 30:
        time.sleep(0.1)
    assert members(process.pid) == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_an_export_that_is_stopped_leaves_nothing_and_goes_on(tmp_path, number, code):
    """Stopped while its workers lower; what one of them had finished is kept."""
    tree = make_tree(tmp_path / "tree")
    cache, out = tree / "cache", tmp_path / "bundle"
    words = ("export", *TOY, "--out", out)
    process = start(tree, environment(tree), *words)
    deadline = time.monotonic() + 240
    while not list(cache.glob("lowered/*/*.pte")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.05)
    stop(process, number, code)
    assert not out.exists() and not list(tmp_path.glob(".bundle*"))
    kept = {p: p.stat().st_mtime_ns for p in cache.glob("lowered/*/*.pte")}
    done = at(tree, *COMMAND[1:], *words)
    assert done.returncode == 0 and "from cache" in done.stdout, done.stderr
    assert (out / "manifest.json").is_file()
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert not [p for p in cache.rglob(".*") if p.is_file()]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_command_that_is_stopped_while_it_starts(request, tmp_path, number, code):
    """Frameworks take seconds to import, and a signal comes then too."""
    own = request.getfixturevalue("environment")
    process = start(ROOT, own, "export", "--out", tmp_path / "bundle")
    time.sleep(1.5)
    assert process.poll() is None
    stop(process, number, code)
    assert list(tmp_path.iterdir()) == []
