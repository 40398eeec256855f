"""The shared vectors are what Python computes now."""

from __future__ import annotations

import json

import pytest

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
        "runs.json",
        "maps_protocol.json",
        "maps_runs.json",
    ],
)
def test_vectors_are_current(made, name):
    """Write them again with `python -m tests.vectors.make` where a change is wanted."""
    assert json.loads((FOLDER / name).read_text("utf-8")) == json.loads(made[name])
