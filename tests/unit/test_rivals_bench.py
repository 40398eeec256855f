"""The benchmark of two families: what it says of files and of pairs, and of what is missing."""

from __future__ import annotations

import json

import pytest

from benchmarks import rivals
from benchmarks.measure.remembered import remembered
from benchmarks.routes.candidates import MOBILE, OURS, Candidate
from mobilemod.errors import UserError

FACTS = {
    "bytes": 4_000_000, "int8_share": 0.997, "partitions": 1, "outside": {}, "ops": 480,
    "quantize": 47, "dequantize": 53,
}  # fmt: skip


def made(name: str, times: list[float], size: int, count: int) -> rivals.Rival:
    row = Candidate("mobilemod-tflite-int8", OURS, "int8", ".tflite", MOBILE, sqnr=31.0)
    row.times = {1: [[t] for t in times]}
    row.facts = {**FACTS, "bytes": size}
    return rivals.Rival(name, [row], {row.key: {"total": count}}, {}, [])


BOTH = [
    made("efficientmod_xxs", [5.0, 6.0, 5.0], 5_000_000, 100_000_000),
    made("efficientformerv2_s0", [10.0, 12.0, 10.0], 4_000_000, 150_000_000),
]


def test_pairs_are_over_the_rounds_and_say_what_the_other_takes():
    (pair,) = rivals.pairs(BOTH)
    assert pair["time"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert (pair["instructions"], pair["bytes"]) == (1.5, 0.8)
    assert rivals.pairs(BOTH[:1]) == []
    line = rivals.pairs_table([pair])[1]
    assert line[:3] == ["xxs", "s0", "77.1, 75.7"] and "1.50" in line


def test_what_is_missing_is_a_dash(tmp_path):
    BOTH[0].missing.append("no compiler")
    table = rivals.files_table(BOTH)
    assert table[1][-1] == "–" and table[1][3] == "5.00"
    args = rivals.parse(["--data", str(tmp_path)])
    values = json.loads(json.dumps(rivals.record(BOTH, [0.0], args)))
    assert values["networks"][0]["missing"] == ["no compiler"]
    assert values["networks"][0]["files"][0]["qualcomm"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "no images"), (["--data", "x", "--networks", "resnet"], "resnet"),
     (["--data", "x", "--rounds", "0"], "--rounds must be 1 or more")],
)  # fmt: skip
def test_bad_options_are_told(words, said, monkeypatch):
    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)
    with pytest.raises(UserError, match=said):
        rivals.parse(words)


def test_every_network_of_a_pair_has_its_accuracy():
    assert {name for pair in rivals.PAIRS for name in pair} == set(rivals.PUBLISHED)


calls: list[str] = []


def length(path) -> int:
    calls.append(path.name)
    return len(path.read_bytes())


def test_what_was_found_out_of_a_file_is_kept_for_its_content(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.measure.remembered.code_digest", lambda name: name)
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert [remembered(file, length) for _ in "ab"] == [3, 3] and len(calls) == 1
    assert remembered(file, length, decided="x") == 3 and len(calls) == 2
    file.write_bytes(b"abcd")
    assert remembered(file, length) == 4
