"""The benchmark of foreign networks: its options, its record, its table."""

from __future__ import annotations

import json

import pytest

from benchmarks.foreign import SCHEMA, measured_before, parse, summary
from mobilemod.errors import UserError


def file(key: str, rounds: list[float], **facts: object) -> dict:
    times = {"1": {"median": rounds[0], "rounds": rounds}} if rounds else {}
    return {"key": key, "sqnr_db": 31.26, "int8_share": 1.0, "milliseconds": times, **facts}


NETWORK = {
    "network": "vit",
    "form_error": 2e-6,
    "files": [
        file("mobilemod-pte-int8", [2.0, 4.0], partitions=1, outside={}),
        file("mobilemod-tflite-int8", []),
        file("executorch-float32", [8.0, 16.0], partitions=9, outside={"bmm": 2, "cat": 1}),
        file("litert-torch-int8", [6.0, 12.0]),
        file("onnxruntime-float32", [3.0, 6.0]),
    ],
}


def test_a_row_sets_our_file_against_the_plain_ones():
    heading, pte, tflite = summary([NETWORK])
    row = dict(zip(heading, pte, strict=True))
    assert row["network"] == "vit" and row["int8 ms"] == "2.00" and row["float ms"] == "–"
    assert row["partitions, plain"] == "1, 9" and row["outside, plain"] == "0, 3"
    assert row["plain float ×"] == "4.00" and row["plain int8 ×"] == "–"
    assert row["best plain ×"] == "3.00" and row["ORT float ×"] == "1.50"
    # Without a file of ours that was timed there is nothing to set them against.
    assert dict(zip(heading, tflite, strict=True))["best plain ×"] == "–"


def test_a_record_is_gone_on_with(tmp_path):
    path = tmp_path / "record.json"
    assert measured_before(None) == measured_before(path) == {}
    path.write_text(json.dumps({"schema": SCHEMA, "networks": [NETWORK]}))
    assert measured_before(path) == {"vit": NETWORK}
    for text in ("", "[]", '{"schema": "other", "networks": []}', f'{{"schema": "{SCHEMA}"}}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"record\.json is no record of this command"):
            measured_before(path)


def test_a_misspelled_network_is_an_error(tmp_path):
    assert parse(["--data", str(tmp_path), "--networks", "vit"]).networks == ["vit"]
    with pytest.raises(UserError, match="vitt"):
        parse(["--data", str(tmp_path), "--networks", "vitt"])
