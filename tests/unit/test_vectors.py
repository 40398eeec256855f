"""The shared vectors are what Python computes now."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from mobilemod.evaluation.runs import from_runs
from tests.vectors import segments
from tests.vectors.make import FOLDER, contents


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return contents()


@pytest.mark.parametrize(
    "name",
    [
        "preprocess.json",
        "png.json",
        "top_k.json",
        "statistics.json",
        "protocol.json",
        "segments.json",
        "runs.json",
        "maps_protocol.json",
        "maps_runs.json",
    ],
)
def test_vectors_are_current(made, name):
    """Write them again with `python -m tests.vectors.make` where a change is wanted."""
    assert json.loads((FOLDER / name).read_text("utf-8")) == json.loads(made[name])


@pytest.mark.parametrize(
    "case", segments.contents()["enlarged"], ids=lambda c: str(c["map"]["height"])
)
def test_enlarged_scores_are_those_of_torch(case):
    shape = (case["classes"], case["height"], case["width"])
    size = (case["map"]["height"], case["map"]["width"])
    scores = torch.tensor(case["scores"], dtype=torch.float64).reshape(1, *shape)
    found = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
    assert case["values"] == pytest.approx(found.ravel().tolist(), abs=1e-6)


def test_runs_are_read_and_refused():
    cases = segments.contents()["runs"]
    for case in cases["good"]:
        assert from_runs(case["runs"], len(case["codes"])).tolist() == case["codes"]
    for case in cases["broken"]:
        with pytest.raises(ValueError, match="run"):
            from_runs(case["runs"], case["pixels"])
