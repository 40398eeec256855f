"""Jobs and their folders: built alike everywhere, and nothing in one can hurt who reads it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mobilemod.errors import UserError
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job import (
    RESUME_FILE,
    Configuration,
    LatencyPlan,
    Resume,
    ranges,
)
from mobilemod.harness.protocol.job_folder import load_job
from mobilemod.harness.protocol.job_read import parse_resume
from mobilemod.harness.protocol.values import check_path
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.manifest import load_bundle
from tests.harness.conftest import IMAGES, NAMES, PLAN


class Pixels(HostDriver):
    input_kind = "pixels"


def test_a_job_is_the_same_whenever_it_is_built(built, tiny, images, tmp_path):
    again = build_job(load_bundle(tiny), images, HostDriver(), PLAN, tmp_path / "other")
    assert again.folder.job == built.folder.job == load_job(built.folder.folder).job
    more = Plan(latency=LatencyPlan(0, 16, 71, 0, 1))
    other = build_job(load_bundle(tiny), images, HostDriver(), more, tmp_path / "other")
    assert other.folder.job.id != built.folder.job.id


def test_names_of_images_travel_as_text_and_never_as_paths(built):
    job = built.folder.job
    named = [item.name for item in job.inputs.items]
    assert {n for name in NAMES for n in named if n.endswith(f"/{name}")} <= set(named)
    assert sum(any(n.endswith(f"/{name}") for n in named) for name in NAMES) == len(NAMES)
    assert [i.path for i in job.inputs.items] == [f"inputs/{n:06d}.png" for n in range(IMAGES)]


def test_int8_has_its_twin_and_threads_are_swept(tiny, images, tmp_path):
    plan = Plan(threads=(1, 2))
    job = build_job(load_bundle(tiny), images, HostDriver(), plan, tmp_path / "job").folder.job
    assert job.file("tiny_int8.tflite").twin == "tiny_float32.tflite"
    assert [job.configurations[i].threads for i in job.measured] == [1, 1, 2, 2]
    assert [job.twin_of(i) for i in range(6)] == [1, None, 3, None, None, None]
    assert [job.first_configuration(f.name) for f in job.files] == [0, 1]
    assert job.configurations[3] == Configuration("tiny_float32.tflite", 2, "xnnpack")


def test_every_unit_of_a_device_has_its_self_test(tiny, images, tmp_path):
    plan, bundle = Plan(threads=(2, 1)), load_bundle(tiny)
    job = build_job(bundle, images, HostDriver(), plan, tmp_path / "job").folder.job
    assert [job.configurations[i] for i in job.tested] == [
        Configuration(f.name, 2, "cpu", self_test_only=True) for f in job.files
    ]
    assert set(job.tested).isdisjoint(i for group in job.timed_groups() for i in group)
    (tmp_path / "bare").mkdir()
    bare = replace(bundle, manifest=bundle.manifest.model_copy(update={"golden": []}))
    assert not build_job(bare, None, HostDriver(), plan, tmp_path / "bare/job").folder.job.tested


def test_pixels_are_what_the_host_would_feed(tiny, images, tmp_path):
    import numpy as np

    from mobilemod.data.imagefolder import load_pixels

    built = build_job(load_bundle(tiny), images, Pixels(), PLAN, tmp_path / "job")
    inputs = built.folder.job.inputs
    packed = np.fromfile(built.folder.path(inputs.path), np.uint8).reshape(inputs.shape)
    bundle = load_bundle(tiny)
    for n in (0, 7, IMAGES - 1):
        assert np.array_equal(packed[n], load_pixels(images.samples[n].path, bundle.preprocess))


def test_an_image_that_cannot_be_packed_is_named(tiny, images, tmp_path, monkeypatch):
    from mobilemod.data import imagefolder

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    samples = list(images.samples) * 10
    samples[5] = imagefolder.Sample(broken, 3)
    folder = imagefolder.ImageFolder(Path("/"), images.classes, tuple(samples))
    built = build_job(load_bundle(tiny), folder, Pixels(), PLAN, tmp_path / "job")
    assert built.folder.job.inputs.count == len(samples) - 1
    assert built.damaged == (str(broken)[1:],)


def test_a_bundle_that_the_device_cannot_run(tiny, images, tmp_path):
    class Other(HostDriver):
        def suffixes(self):
            return (".mlpackage",)

    with pytest.raises(UserError, match="runs .mlpackage files, and the bundle has none"):
        build_job(load_bundle(tiny), images, Other(), PLAN, tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_only_the_files_that_are_asked_for(tiny, images, tmp_path):
    plan = Plan(files=("tiny_int8.tflite",))
    job = build_job(load_bundle(tiny), images, HostDriver(), plan, tmp_path / "job").folder.job
    assert [(f.name, f.twin) for f in job.files] == [("tiny_int8.tflite", None)]
    with pytest.raises(
        UserError, match="no file 'x' that runs there; tiny_int8.tflite, tiny_float"
    ):
        build_job(load_bundle(tiny), images, HostDriver(), Plan(files=("x",)), tmp_path / "job")


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/.", "a b", "a\\b", "ü", "a\n", "a\0b",
     "C:x", "a/" * 20 + "b", "x" * 300, None, 5, ["a"]],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path):
    with pytest.raises(UserError, match="isn't allowed"):
        check_path(path)


def test_ranges():
    assert ranges([5, 1, 2, 3, 9, 8, 2]) == [[1, 3], [5, 5], [8, 9]]
    assert ranges([]) == []


def test_resume_comes_back_as_it_went(built):
    job = built.folder.job
    resume = Resume(job.id, {"tiny_int8.tflite": frozenset({0, 1, 5})}, frozenset({(1, "golden")}))
    raw = json.dumps(resume.to_dict()).encode()
    assert parse_resume(raw, job) == resume
    other = json.dumps({**resume.to_dict(), "job": "0" * 64}).encode()
    assert parse_resume(other, job) == Resume(job.id)


def _swap(folder: Path, name: str) -> Path:
    path = folder / name
    path.unlink()
    return path


@pytest.mark.parametrize("kind", ["link", "pipe", "missing", "folder", "longer", "same size"])
def test_a_file_that_is_not_the_jobs_is_named(built, tmp_path, kind):
    folder, name = built.folder.folder, "models/tiny_int8.tflite"
    size = (folder / name).stat().st_size
    path = _swap(folder, name)
    if kind == "link":
        secret = tmp_path / "secret"
        secret.write_text("s")
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(bytes(size + (kind == "longer")))
    with pytest.raises(UserError, match=r"tiny_int8\.tflite"):
        load_job(folder)


def test_a_linked_folder_is_not_followed(built, tmp_path):
    folder = built.folder.folder
    (folder / "models").rename(tmp_path / "elsewhere")
    (folder / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link"):
        load_job(folder)


def test_a_resume_of_too_many_is_refused(built):
    job = built.folder.job
    bad = {"schema": "mobilemod/resume/1", "job": job.id, "finished": [[0, "golden"], [99, "x"], 5]}
    for answered in ({"tiny_int8.tflite": [[0, 10**15]]}, {"x": [[3, 1]]}, {"x": [["0", 1]]}, []):
        with pytest.raises(UserError):
            parse_resume(json.dumps({**bad, "answered": answered}).encode(), job, RESUME_FILE)
    good = parse_resume(json.dumps({**bad, "answered": {"x": [[0, 1]]}}).encode(), job)
    assert good == Resume(job.id, {}, frozenset({(0, "golden")}))
