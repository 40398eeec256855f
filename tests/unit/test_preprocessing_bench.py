"""The benchmark of preparation: its arithmetic, and what it says of entries that fail."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.measure.rounds import Round
from benchmarks.preprocessing.__main__ import INFERENCE, check_same, parse, shares, table
from benchmarks.preprocessing.entries import LANGUAGES, Entry, EntryTimer, Picture, entries
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError


@pytest.fixture
def pictures(tmp_path) -> list[Picture]:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    pixels.tofile(tmp_path / "a.rgb")
    return [Picture("drawing", 40, 30, 4, 0.2, tmp_path / "a.rgb")]


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"preprocess": Preprocess(size=16).to_dict()}))
    return path


def timer(script: str, pictures, manifest) -> EntryTimer:
    entry = Entry("Toy", lambda arguments: [sys.executable, "-c", script, *arguments])
    return EntryTimer(entry, pictures, manifest)


def test_shares_are_of_the_same_rounds(pictures):
    """A machine that slows down tenfold moves both times, and not the share."""
    rounds = [
        Round({INFERENCE: [[10.0 * s] * 3], "A": [[1.0 * s, 1.0 * s]], "B": [[4.0 * s]]}, 0.0)
        for s in (1.0, 10.0, 2.0, 7.0)
    ]
    small, large = shares(rounds, pictures, ["A", "B"])
    assert (small.share.median, small.share.high, small.check.verdict) == (0.1, 0.1, "pass")
    assert large.share.median == pytest.approx(0.4) and large.check.verdict == "fail"
    assert small.times.median == 4.5 and large.times.min == 4.0
    heading, *rows = table([small, large])
    assert all(len(row) == len(heading) for row in rows)
    assert rows[0][-2:] == ["≤ 0.2", "pass"] and rows[1][5] == "0.400"


def test_other_pixels_are_refused():
    same = {"Python": {"a": "1", "b": "2"}, "Swift": {"a": "1", "b": "2"}}
    check_same(same)
    with pytest.raises(UserError, match="b: Python's pixels aren't those of Kotlin"):
        check_same({**same, "Kotlin": {"a": "1", "b": "3"}})


def test_pythons_own_entry(pictures, manifest):
    own = EntryTimer(LANGUAGES["Python"]([]), pictures, manifest)
    (times,), seconds = own.round([0])
    assert len(times) == 2 and min(times) > 0 and seconds > 0  # the second half of four
    image = Image.fromarray(np.fromfile(pictures[0].file, np.uint8).reshape(30, 40, 3))
    expected = hashlib.sha256(Preprocess(size=16).pixels(image).tobytes()).hexdigest()
    assert own.digests == {"drawing": expected}


def test_an_entry_that_fails_is_told(pictures, manifest):
    for script, said in (
        ("raise SystemExit('no such model')", "Toy: its entry ended with 1: no such model"),
        ("print('hello')", "Toy: its entry printed no times: 'hello"),
        ('print(\'{"milliseconds": [1], "sha256": "a"}\')', "Toy: 1 times for 4 repeats"),
    ):
        with pytest.raises(UserError, match=said):
            timer(script, pictures, manifest).round([0])


def test_an_entry_that_changes_its_mind_is_told(pictures, manifest):
    script = 'import os; print(f\'{{"milliseconds": [1,1,2,2], "sha256": "{os.getpid()}"}}\')'
    own = timer(script, pictures, manifest)
    assert own.round([0])[0] == [[2.0, 2.0]]
    with pytest.raises(UserError, match="Toy: other pixels of the drawing in another round"):
        own.round([0])


def test_a_language_without_its_tools_is_left_out(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MOBILEMOD_SWIFT", "/nowhere")
    found, missing = entries([])
    assert [entry.language for entry in found] == ["Python"]
    assert set(missing) == {"TypeScript", "Kotlin", "Swift"} and all(missing.values())


def test_bad_options_are_told():
    with pytest.raises(UserError, match="--rounds must be 1 or more"):
        parse(["--data", "/x", "--rounds", "0"])
