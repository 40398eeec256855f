"""The Kotlin core runs jobs on the JVM, with the real model files in a Python process beside it.

Its stream must be what mobilemod's decoder takes, and its answers Python's own, bit for bit. The
core is compiled by apps/android/test.sh; without it these tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.measure.device_host import BundleHost
from mobilemod.data.imagefolder import ImageFolder, read_folder
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import JOB_FILE, LatencyPlan, job_id
from mobilemod.harness.protocol.job_folder import JobFolder, load_job
from mobilemod.harness.protocol.lines import Line, Reader
from mobilemod.harness.run.app_job import AppJobConfig, read_app_job
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.worker.execute import execute
from mobilemod.manifest import load_bundle
from tests.tiny_bundle import IDS, make_bundle

ROOT = Path(__file__).parents[2]
CLASS_PATH = ROOT / "apps/android/build/check/class-path"
IMAGES = 12
# After apps/android/test.sh, which CI runs between the fast tests and the slow ones.
pytestmark = pytest.mark.slow
PLAN = Plan(latency=LatencyPlan(0, 16, 70, 0, 2))


class LiteRtOnly(HostDriver):
    """The host without ExecuTorch, whose import takes long in every engine's process."""

    def suffixes(self) -> tuple[str, ...]:
        return (".tflite",)


@pytest.fixture(scope="session")
def kotlin():
    """`kotlin("RunJob", folder, stream)`: what a program of the core's tests prints."""
    if not CLASS_PATH.is_file() or shutil.which("java") is None:
        pytest.skip("needs the compiled core: run apps/android/test.sh")

    def run(main: str, *arguments: Path) -> str:
        engine = (sys.executable, "-m", "tests.android.engine")
        name = f"io.mobilemod.core.harness.{main}Kt"
        command = ["java", "-cp", CLASS_PATH.read_text(), name, *arguments, *engine]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> ImageFolder:
    """Drawn images of several sizes, as PNG: every decoder gives the same pixels."""
    root = tmp_path_factory.mktemp("images") / "val"
    rng = np.random.default_rng(3)
    for n in range(IMAGES):
        folder = root / IDS[n % len(IDS)]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((37 + 5 * n, 60), Image.Resampling.BICUBIC)
        image.save(folder / f"it's $n {n}.png")
    return read_folder(root, IDS)


@pytest.fixture
def job(tmp_path, images) -> JobFolder:
    """A job of the tiny bundle, whose files are channels last."""
    bundle = load_bundle(make_bundle(tmp_path / "bundle"))
    return build_job(bundle, images, LiteRtOnly(), PLAN, tmp_path / "job").folder


def read(job: JobFolder, data: bytes) -> tuple[list[Line], Reader]:
    """The stream's lines; none may be damaged."""
    reader = Reader(job.job.id)
    lines = [*reader.feed(data), *reader.close()]
    assert reader.counts["damaged"] == 0, reader.first_damage
    assert reader.counts["foreign"] == 0
    return lines, reader


def answers(lines: list[Line]) -> dict[tuple[int, int], tuple]:
    """By (configuration, image): the top five, the logits and their hash."""
    return {
        (x["configuration"], x["image"]): (x["top"], x["logits"], x["logits_sha256"])
        for x in lines
        if x.type == "image"
    }


def golden(lines: list[Line]) -> dict[tuple, list]:
    return {
        (x["configuration"], x["image"], x["source"]): x["logits"]
        for x in lines
        if x.type == "golden"
    }


def python_stream(job: JobFolder) -> list[Line]:
    """What the worker in Python makes of the same job."""
    parts: list[bytes] = []
    execute(job.folder, parts.append, "host")
    return read(job, b"".join(parts))[0]


def test_its_stream_and_answers_are_pythons(kotlin, job, tmp_path):
    stream = tmp_path / "stream.jsonl"
    kotlin("RunJob", job.folder, stream)
    lines, reader = read(job, stream.read_bytes())
    assert reader.counts["repeated"] == 0
    held = Held(job.job)
    assert all(held.add(line) for line in lines)
    assert held.done and held.fatal is None and not held.failed
    assert held.open_phases() == set()
    ours = python_stream(job)
    assert answers(lines) == answers(ours)
    assert len(answers(lines)) == 2 * IMAGES
    assert golden(lines) == golden(ours)
    timed = [x for x in lines if x.type == "times" and x["phase"] == "steady"]
    assert {c: sum(len(x["ms"]) for x in timed if x["configuration"] == c) for c in (0, 1)} == {
        0: 70,
        1: 70,
    }


def test_a_stream_that_was_cut_off_is_gone_on_with(kotlin, job, tmp_path):
    stream = tmp_path / "stream.jsonl"
    kotlin("RunJob", job.folder, stream)
    data = stream.read_bytes()
    middle = data.index(b'"type":"image"', len(data) // 4) + 60
    stream.write_bytes(data[:middle])
    kotlin("RunJob", job.folder, stream)
    reader = Reader(job.job.id)
    lines = [*reader.feed(stream.read_bytes()), *reader.close()]
    assert reader.counts["damaged"] == 1
    seen = [(x["configuration"], x["image"]) for x in lines if x.type == "image"]
    assert len(seen) == len(set(seen)) == 2 * IMAGES
    held = Held(job.job)
    for line in lines:
        held.add(line)
    assert held.done and held.open_phases() == set()


def test_a_wrong_file_is_fatal_and_named(kotlin, job, tmp_path):
    model = job.folder / job.job.files[0].path
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    stream = tmp_path / "stream.jsonl"
    kotlin("RunJob", job.folder, stream)
    lines, _ = read(job, stream.read_bytes())
    (error,) = [x for x in lines if x.type == "error"]
    assert error["fatal"] and job.job.files[0].path in error["message"]
    assert not answers(lines)


def test_another_bundle_on_real_images(kotlin, export, data_dir, tmp_path):
    """The real network at 64 pixels: the core follows its manifest and the file's own layout."""
    options = ("--targets", "tflite,executorch", "--size", "64", "--data", data_dir)
    export(tmp_path / "bundle", *options)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.preprocess.size == 64
    for n, path in enumerate(sorted((data_dir / "val").rglob("*.JPEG"))[::39][:50]):
        # JPEG decoders differ in the last bit; PNG's don't.
        target = tmp_path / "val" / path.parent.name / f"{n}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").save(target)
    images = read_folder(tmp_path / "val", bundle.label_ids)
    assert len(images.samples) == 50
    plan = Plan(latency=None)
    job = build_job(bundle, images, HostDriver(), plan, tmp_path / "job").folder
    stream = tmp_path / "stream.jsonl"
    kotlin("RunJob", job.folder, stream)
    lines, _ = read(job, stream.read_bytes())
    ours = python_stream(job)
    assert answers(lines) == answers(ours)
    assert len(answers(lines)) == len(job.job.files) * 50
    assert golden(lines) == golden(ours)
    said = [x.split() for x in kotlin("RunGolden", bundle.folder).splitlines()]
    assert {x[2] for x in said} == {"NONE"}, said
    assert len(said) == len(job.job.files) * len(bundle.manifest.golden)


def test_the_apps_own_job_of_labelled_images_is_pythons(kotlin, images, tmp_path):
    bundle, out = make_bundle(tmp_path / "bundle"), tmp_path / "jobs"
    said = kotlin("RunLabelled", bundle, images.root, out).splitlines()
    (stream,) = out.glob("*.jsonl")
    made = load_job(out / stream.stem)
    assert made.job.id == stream.stem == job_id(made.job.to_dict())
    lines, _ = read(made, stream.read_bytes())
    assert {k: v[2] for k, v in answers(lines).items()} == {
        k: v[2] for k, v in answers(python_stream(made)).items()
    }
    for index, file in enumerate(made.job.files):
        best = {i: top[0][0] for (c, i), (top, *_) in answers(lines).items() if c == index}
        right = sum(made.job.inputs.items[i].target == b for i, b in best.items())
        assert said[index] == f"{file.name} {right} {IMAGES}"
    # What the app shares is all that its record is made of.
    config = AppJobConfig(bundle, made.folder / JOB_FILE, stream)
    record, _, _ = read_app_job(config, BundleHost)
    accuracy = {f["file"]: f["accuracy"] for f in record["files"]}
    assert [f["self_test"]["verdict"] for f in record["files"]] == ["right", "right"]
    for line in said[: len(made.job.files)]:
        name, right, of = line.split()
        assert accuracy[name]["top1_percent"] == pytest.approx(100 * int(right) / int(of))
    name, twin, drop, _ = said[-1].split()
    assert accuracy[name]["twin"]["file"] == twin
    assert accuracy[name]["twin"]["drop"]["points"] == pytest.approx(float(drop))
