"""The benchmark of model files: its options."""

from __future__ import annotations

import pytest

from benchmarks.files import parse
from mobilemod.errors import UserError


def test_bad_options_are_told(tmp_path):
    there = tmp_path / "a.tflite"
    there.touch()
    assert parse([str(there), str(there), "--size", "64"]).files == [there, there]
    for words, said in (
        ([str(tmp_path / "b.pte")], "b.pte: no such file"),
        ([str(there), "--rounds", "0"], "--rounds"),
        ([str(there), "--patience", "-1"], "--patience"),
        ([str(there), "--tflite-runtime", "--other", str(tmp_path)], "doesn't go with --other"),
    ):
        with pytest.raises(UserError, match=said):
            parse(words)
