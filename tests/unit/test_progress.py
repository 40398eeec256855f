"""Progress where stderr is no terminal: lines, seldom but always."""

from __future__ import annotations

import io
import threading
import time
from types import SimpleNamespace

import pytest

from mobilemod import progress as module
from mobilemod.progress import progress, working


@pytest.fixture
def said(monkeypatch) -> io.StringIO:
    """What is printed where a line is due every hundredth of a second."""
    said = io.StringIO()
    monkeypatch.setattr(module, "SECONDS", 0.01)
    monkeypatch.setattr(module, "_report", module._Reporter())
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=said))
    return said


def now() -> list[str]:
    """What is told at this moment, whatever the clock says."""
    return module._report.lines()


def wait_for(said: io.StringIO, text: str) -> None:
    end = time.monotonic() + 30
    while text not in said.getvalue():
        assert time.monotonic() < end, f"{text!r} was not told in 30 s"
        time.sleep(0.01)


def test_one_long_step_is_told_too(said):
    """A line is due by the clock, not by the next item."""
    with working("export"):
        for done in progress(range(2), "lowering", 2, "file"):
            wait_for(said, f"lowering: {done} of 2 file, ")
        assert now() == ["export: 0 s so far"]
        wait_for(said, "export: 0 s so far\n")
    (second,) = {x for x in said.getvalue().splitlines() if x.startswith("lowering: 1")}
    assert second.endswith("left")


def test_nothing_is_told_after_the_end(said):
    with working("export"):
        wait_for(said, "export")
    end = time.monotonic() + 30
    while any(thread.name == "progress" for thread in threading.enumerate()):
        assert time.monotonic() < end, "the reporter goes on"
        time.sleep(0.01)
    told = said.getvalue()
    assert list(progress(range(9), "short", 9, "img")) == list(range(9))
    time.sleep(0.05)
    assert now() == []
    assert not [x for x in said.getvalue()[len(told) :].splitlines() if x.startswith("export")]


def test_batches_and_unknown_totals_read_well(said):
    for _ in progress(range(1), "calibration", 32, "8 img"):
        assert now() == ["calibration: 0 of 32 × 8 img, 0 s"]
    for _ in progress(iter(range(1)), "unpack", None, "file"):
        assert now() == ["unpack: 0 file, 0 s"]


def test_threads_tell_each_their_own_and_not_who_waits_for_them(said):
    inside, told = threading.Barrier(3, timeout=30), threading.Barrier(3, timeout=30)

    def device(n: int) -> None:
        for _ in progress(range(1), f"device {n}", 1, "job"):
            inside.wait()
            told.wait()

    with working("validate"):
        threads = [threading.Thread(target=device, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        inside.wait()
        lines = now()
        told.wait()
        for thread in threads:
            thread.join()
        assert now() == ["validate: 0 s so far"]
    assert sorted(lines) == ["device 0: 0 of 1 job, 0 s", "device 1: 0 of 1 job, 0 s"]


def test_what_just_began_is_not_told(monkeypatch, said):
    """A line is due so long after a work's own beginning, whatever ran before it."""
    monkeypatch.setattr(module, "SECONDS", 0.3)
    for _ in range(6):
        with working("short"):
            time.sleep(0.1)
    assert said.getvalue() == ""
