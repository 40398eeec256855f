"""Progress where stderr is no terminal: lines, seldom but always."""

from __future__ import annotations

import io
import sys
import threading
import time

from mobilemod import progress as module
from mobilemod.progress import progress, working


def lines_of(monkeypatch, work, seconds: float = 0.05) -> list[str]:
    """What `work` prints when a line is due every `seconds`."""
    said = io.StringIO()
    monkeypatch.setattr(module, "SECONDS", seconds)
    monkeypatch.setattr(module, "_report", module._Reporter())
    monkeypatch.setattr(sys, "stderr", said)
    work()
    time.sleep(2 * seconds)
    return said.getvalue().splitlines()


def test_one_long_step_is_told_too(monkeypatch):
    """A line is due by the clock, not by the next item."""

    def work():
        with working("export"):
            for _ in progress(range(2), "lowering", 2, "file"):
                time.sleep(0.18)
            time.sleep(0.12)

    lines = lines_of(monkeypatch, work)
    assert any(line.startswith("lowering: 0 of 2 file, ") for line in lines)
    assert any(line.startswith("lowering: 1 of 2 file, ") and "left" in line for line in lines)
    assert lines[-1] == "export: 0 s so far"
    assert 5 <= len(lines) <= 12


def test_batches_and_unknown_totals_read_well(monkeypatch):
    def work():
        for _ in progress(range(1), "calibration", 32, "8 img"):
            time.sleep(0.08)
        for _ in progress(iter(range(1)), "unpack", None, "file"):
            time.sleep(0.08)

    lines = lines_of(monkeypatch, work)
    assert lines[0].startswith("calibration: 0 of 32 × 8 img, ")
    assert lines[-1].startswith("unpack: 0 file, ")


def test_threads_tell_each_their_own_and_nothing_after_the_end(monkeypatch):
    def work():
        with working("validate"):
            threads = [
                threading.Thread(
                    target=lambda n=n: [
                        time.sleep(0.15) for _ in progress(range(1), f"device {n}", 1, "job")
                    ]
                )
                for n in range(2)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    lines = lines_of(monkeypatch, work)
    assert {line.split(":")[0] for line in lines} >= {"device 0", "device 1"}
    assert not any(line.startswith("validate") for line in lines)
    assert lines_of(monkeypatch, lambda: list(progress(range(9), "short", 9, "img"))) == []
