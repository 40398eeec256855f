"""The cache key of a lowering: what redoes it, and what doesn't."""

from __future__ import annotations

import dataclasses

import pytest

from export.backend import TARGETS, ModelInfo
from export.lowering import LoweringJob
from mobilemod.data.preprocess import Preprocess

INFO = ModelInfo("efficientmod_xxs", ("tench", "owl"), Preprocess(size=64))


@pytest.fixture
def job():
    return LoweringJob("tflite", "efficientmod_xxs", 2, {}, "weights", None, INFO)


def test_labels_and_name_change_the_file_but_not_the_program(job):
    info = dataclasses.replace(INFO, name="birds", labels=("owl", "tench"))
    other = dataclasses.replace(job, info=info)
    assert other.key() != job.key() and other.file_name != job.file_name
    assert other.program.key() == job.program.key()
    assert other.program.place() == job.program.place()
    assert other.place() != job.place() != job.program.place()


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "others"},
        {"num_classes": 3},
        {"variant": "efficientmod_xs"},
        {"target": "executorch"},
        {"info": dataclasses.replace(INFO, preprocess=Preprocess(size=96))},
    ],
    ids=lambda c: next(iter(c)),
)
def test_everything_else_changes_the_program(job, change):
    assert dataclasses.replace(job, **change).program.key() != job.program.key()


def test_every_target_has_a_place_of_its_own(job):
    places = {dataclasses.replace(job, target=t).place() for t in TARGETS}
    assert len(places) == len(TARGETS)
