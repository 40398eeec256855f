"""The cache key of a lowering: what redoes it, and what doesn't."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from export.lowering import LoweringJob
from export.targets.base import ModelInfo, Origin
from mobilemod import __version__
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.targets import TARGETS
from tests.conftest import TEST_DATA

INFO = ModelInfo("efficientmod_xxs", ("tench", "owl"), Preprocess(size=64))


@pytest.fixture
def job():
    return LoweringJob("tflite", {}, {}, "weights", None, INFO)


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
        {"form": {"nodes": []}},
        {"target": "executorch"},
        {"info": dataclasses.replace(INFO, preprocess=Preprocess(size=96))},
        {"info": dataclasses.replace(INFO, answer="classes")},
    ],
    ids=lambda c: next(iter(c)),
)
def test_everything_else_changes_the_program(job, change):
    assert dataclasses.replace(job, **change).program.key() != job.program.key()


def test_every_target_has_a_place_of_its_own(job):
    places = {dataclasses.replace(job, target=t).place() for t in TARGETS}
    assert len(places) == len(TARGETS)


def test_whose_weights_a_file_holds_stands_in_its_format():
    """Author, licence and version, where each format has its fields."""
    import flatbuffers
    from coremltools.proto import Model_pb2

    from export.source import open_source
    from export.targets.coreml.lowering import _describe
    from export.targets.tflite.metadata import model_metadata

    origin = Origin("Ada", "MIT", "0.1.0+abcdef01")
    info = dataclasses.replace(INFO, origin=origin)
    data = model_metadata(info, "logits")
    root = flatbuffers.table.Table(
        data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)
    )

    def text(field: int) -> str:
        return root.String(root.Pos + root.Offset(4 + 2 * field)).decode()

    # Fields 2, 4 and 5 of `ModelMetadata` in the published schema.
    assert (text(2), text(4), text(5)) == (origin.version, origin.author, origin.license)

    spec = Model_pb2.Model()
    _describe(spec, info, True)
    meta = spec.description.metadata
    assert (meta.versionString, meta.author, meta.license) == (text(2), text(4), text(5))

    own = open_source("efficientmod_xxs", None, None).origin
    assert (own.author, own.license) == ("mobilemod", "Apache-2.0")
    assert own.version.startswith(f"{__version__}+")
    given = open_source("efficientmod_xxs", None, None, "Ada", "MIT").origin
    assert (given.author, given.license) == ("Ada", "MIT")


def test_other_labels_and_authors_lower_nothing_again():
    job = LoweringJob("tflite", {}, {}, "w", None, INFO)
    other = dataclasses.replace(
        job, info=dataclasses.replace(INFO, name="x", labels=("a", "b"), origin=Origin("Ada"))
    )
    assert job.key() != other.key() and job.program.key() == other.program.key()


def test_a_file_that_is_not_its_programs_is_refused(job, shallow_form, monkeypatch, tmp_path):
    """By the name that it has in the bundle, whenever it is taken from the cache unchecked."""
    from export.lowering import lower

    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path))
    form = shallow_form.to_dict()
    state = {name: value.numpy() for name, value in shallow_form.state().items()}
    job = dataclasses.replace(job, target="executorch", form=form, state=state)
    other = TEST_DATA / "models" / "act_relu.pte"
    place = job.program.place()
    place.parent.mkdir(parents=True)
    shutil.copyfile(other, place)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            lower(job)
        assert str(caught.value).startswith(f"{job.file_name}: the file doesn't compute what its")
    assert not list(place.parent.glob("checked*")) and not job.place().exists()


def test_what_a_file_is_checked_on(job):
    card = draw_card(64)[None]
    assert (job.pixels() == card).all()
    images = np.zeros((3, 64, 64, 3), np.uint8)
    more = dataclasses.replace(job, images=images)
    assert (more.pixels() == np.concatenate([card, images])).all() and more.key() == job.key()
