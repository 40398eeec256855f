"""The reference implementation agrees with the vectors that every other one is held against."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mobilemod.errors import UserError
from mobilemod.evaluation.runs import checked_map
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import Configuration, Hashed, Inputs, Item, Job, JobFile
from mobilemod.harness.protocol.lines import Damaged, Reader, decode, encode
from mobilemod.harness.protocol.values import check_path
from mobilemod.harness.record.statistics import Distribution
from mobilemod.harness.worker.digest import image_answer, logits_sha256, top
from mobilemod.harness.worker.timing import stable

FOLDER = Path(__file__).parents[1] / "vectors"
PROTOCOL = json.loads((FOLDER / "protocol.json").read_text("utf-8"))
MAPS = json.loads((FOLDER / "maps_protocol.json").read_text("utf-8"))
TOP_K = json.loads((FOLDER / "top_k.json").read_text("utf-8"))["cases"]
STATISTICS = json.loads((FOLDER / "statistics.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "entry", PROTOCOL["lines"] + MAPS["lines"], ids=lambda e: repr(e["text"][:24])
)
def test_lines(entry):
    raw = entry["text"].encode()
    if not entry["ok"]:
        with pytest.raises(Damaged):
            decode(raw)
        return
    line, value = decode(raw), entry["value"]
    assert encode(value).rstrip(b"\n") == raw
    assert (line.type, line.seq, line.t) == (value["type"], value["seq"], value["t"])
    assert all(value[key] == found for key, found in line.values.items())


@pytest.mark.parametrize("case", MAPS["maps"], ids=lambda c: f"{c['classes']} in {c['map']}")
def test_maps(case):
    numbers = np.array([np.nan if v is None else v for v in case["numbers"]], np.float32)
    said = image_answer(numbers, case["map"], False)
    assert said == {"top": [], "logits_sha256": case["sha256"], "runs": case["runs"]}
    pixels = case["map"][0] * case["map"][1]
    assert checked_map(case["runs"], pixels, case["classes"]).tolist() == case["pixels"]


@pytest.mark.parametrize("case", MAPS["no_maps"], ids=lambda c: str(c["runs"]))
def test_runs_of_no_map(case):
    with pytest.raises(ValueError):
        checked_map(case["runs"], case["map"][0] * case["map"][1], case["classes"])


def test_paths():
    for path in PROTOCOL["paths"]["good"]:
        assert check_path(path) == path
    for path in PROTOCOL["paths"]["bad"]:
        with pytest.raises(UserError):
            check_path(path)


@pytest.mark.parametrize("case", TOP_K, ids=lambda case: f"{len(case['logits'])} classes")
def test_top_k(case):
    logits = np.array([np.nan if v is None else v for v in case["logits"]], np.float32)
    assert top(logits)[: case["k"]] == case["top"]
    if case["sha256"] is not None:
        assert logits_sha256(logits) == case["sha256"]


def test_an_image_without_a_finite_logit_is_a_line():
    (case,) = [c for c in TOP_K if c["top"] == []]
    image = next(e["value"] for e in PROTOCOL["lines"] if e["ok"] and e["value"]["type"] == "image")
    line = decode(encode({**image, "top": case["top"]}).rstrip(b"\n"))
    assert line["top"] == []


def test_resume():
    case = PROTOCOL["resume"]
    count, digest = case["count"], "0" * 64
    job = Job(
        case["job"],
        "a",
        Hashed("manifest.json", digest),
        tuple(JobFile(f, f, digest, 1, "tflite", "int8") for f in case["files"]),
        Inputs("images", count, tuple(Item(str(n)) for n in range(count))),
        (),
        tuple(Configuration(**c) for c in case["configurations"]),
    )
    held = Held(job)
    for file, pairs in case["answered"].items():
        held.answered[file] = {i for first, last in pairs for i in range(first, last + 1)}
    reader = Reader(job.id)
    for line in [*reader.feed("\n".join(case["lines"]).encode()), *reader.close()]:
        held.add(line)
    assert {f: sorted(held.missing(f)) for f in case["files"]} == case["left"]
    assert reader.counts == {"lines": 5, "repeated": 1, "foreign": 1, "damaged": 2}


@pytest.mark.parametrize("case", STATISTICS["percentiles"], ids=lambda c: str(len(c["values"])))
def test_percentiles(case):
    found = Distribution.of(case["values"])
    for key in ("p50", "p90", "p99", "min", "max", "mean"):
        assert getattr(found, f"{key}_ms") == pytest.approx(case[key], rel=1e-9)


@pytest.mark.parametrize("case", STATISTICS["warm_up"], ids=lambda c: str(c["max"]))
def test_warm_up(case):
    values, limit = case["milliseconds"], case["max"]
    ends = (n for n in range(1, len(values) + 1) if stable(values[:n]) or n >= limit)
    assert next(ends, None) == case["runs"]
