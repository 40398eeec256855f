"""What an app's accuracy screen saved becomes a device's record; jobs run by the real worker."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from export.verbs.main import main
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job import Job
from mobilemod.harness.protocol.job_read import parse_job
from mobilemod.harness.protocol.lines import Writer
from mobilemod.harness.run.app_images import same_images
from mobilemod.harness.run.app_job import AppJobConfig, read_app_job
from mobilemod.harness.run.job_build import Plan, build_job, write_job
from mobilemod.harness.run.session import LINES_FILE, Session
from mobilemod.manifest import load_bundle
from mobilemod.results.device.table import text_table
from tests.harness.conftest import IMAGES, Host
from tests.tiny_bundle import make_bundle

pytestmark = pytest.mark.alone
INT8, FLOAT = "tiny_int8.tflite", "tiny_float32.tflite"


class Packing(HostDriver):
    """Takes prepared pixels, as one of the apps packs them."""

    input_kind = "pixels"


def app_run(bundle: Path, images: ImageFolder, driver: HostDriver, folder: Path) -> Path:
    """The two files of an app: a job of its own, without golden images and times, and its lines."""
    built = build_job(load_bundle(bundle), images, driver, Plan(latency=None), folder / "job")
    units = tuple(c for c in built.folder.job.configurations if not c.self_test_only)
    files = tuple(replace(f, twin=None) for f in built.folder.job.files)
    job = replace(built.folder.job, golden=(), configurations=units, files=files)
    result = Session(driver, write_job(job, built.folder.folder), folder).run()
    assert result.complete
    shutil.copyfile(folder / "job" / "job.json", folder / "job.json")
    return folder


@pytest.fixture(scope="module", params=[HostDriver, Packing], ids=["images", "pixels"])
def saved(request, tiny_source, images, tmp_path_factory) -> Path:
    return app_run(tiny_source, images, request.param(), tmp_path_factory.mktemp("app"))


def config(bundle: Path, saved: Path, **more) -> AppJobConfig:
    return AppJobConfig(bundle, saved / "job.json", saved / LINES_FILE, **more)


def refused(capsys, bundle: Path, *files: Path) -> str:
    """The one line of a command that leaves the bundle as it was."""
    before = sorted(bundle.rglob("*"))
    assert main(["harness", "read", str(bundle), *map(str, files), "--audit-only"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert sorted(bundle.rglob("*")) == before
    return said.err


def test_without_the_images_the_files_are_compared_on_the_device(tiny, saved, images):
    record, report, here = read_app_job(config(tiny, saved), Host)
    assert here == 0 and record["complete"] and record["job"]["sample"]
    assert record["counts"]["answered"] == 2 * IMAGES
    bundle, host = load_bundle(tiny), Host(load_bundle(tiny), images)
    answers = host.answers([INT8, FLOAT]).files
    right = {file: found.argmax(1) == images.targets for file, found in answers.items()}
    by_name = {f["file"]: f for f in record["files"]}
    for file, found in right.items():
        assert by_name[file]["accuracy"]["top1_percent"] == pytest.approx(100 * found.mean())
        assert by_name[file]["sha256"] == bundle.model_file(file).sha256
    twin = by_name[INT8]["accuracy"]["twin"]
    assert (twin["file"], twin["images"]) == (FLOAT, IMAGES)
    assert twin["drop"]["lost"] == (right[FLOAT] & ~right[INT8]).sum()
    assert twin["drop"]["won"] == (right[INT8] & ~right[FLOAT]).sum()
    assert by_name[FLOAT]["accuracy"]["twin"] is None
    verdicts = {v["line"].partition(": ")[0] for v in record["verdicts"]}
    assert verdicts == {"complete", f"{INT8} against {FLOAT} there"}
    assert "to float there" in text_table(record)
    assert f"{record['device']['name']}" in report.read_text()
    latest = json.loads((tiny / "devices" / "report.json").read_text())["records"]
    assert latest == [record]


def test_the_images_that_are_here_too_are_answered_here(tiny, saved, images):
    half = images.subset(list(range(0, IMAGES, 2)))
    record, _, here = read_app_job(config(tiny, saved, images=half), Host)
    assert here == IMAGES // 2
    for file in record["files"]:
        host = file["accuracy"]["host"]
        assert (host["identical"], host["images"]) == (here, here)
        assert file["accuracy"]["paired_images"] == here
    assert any("agreement with the host" in v["line"] for v in record["verdicts"])


def test_an_image_is_the_same_by_its_bytes_else_by_class_and_name(saved, images, tmp_path):
    job = json.loads((saved / "job.json").read_text())
    names = [item["name"] for item in job["inputs"]["items"]]
    # Another file under the first one's name, and the second one under another name.
    root = shutil.copytree(images.root, tmp_path / "val")
    first, second = (root / images.samples[i].path.relative_to(images.root) for i in (0, 1))
    shutil.copyfile(images.samples[2].path, first)
    renamed = second.rename(second.with_name("renamed.png"))
    paths = [first, renamed, *(s.path for s in images.samples[3:])]
    old = [images.samples[i] for i in (0, 1, *range(3, IMAGES))]
    samples = tuple(replace(s, path=path) for s, path in zip(old, paths, strict=True))
    found = same_images(read_job(saved), replace(images, samples=samples))
    others = {i: names[i + 1] for i in range(2, IMAGES - 1)}
    by_bytes = job["inputs"]["kind"] == "images"
    assert found == {**others, **({0: names[2], 1: names[1]} if by_bytes else {0: names[0]})}


def read_job(saved: Path) -> Job:
    return parse_job((saved / "job.json").read_bytes())


def test_the_same_files_again_are_the_same_run(tiny, saved):
    first, _, _ = read_app_job(config(tiny, saved), Host)
    second, _, _ = read_app_job(config(tiny, saved), Host)
    assert first["files"] == second["files"]
    assert len(list((tiny / "devices").glob("*/*/record.json"))) == 1


def test_the_command_prints_the_record(tiny, saved, capsys):
    files = [str(saved / "job.json"), str(saved / LINES_FILE)]
    code = main(["harness", "read", str(tiny), *files, "--audit-only", "--json", "-"])
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert code in (0, 1, 4) and record["complete"]


def test_a_job_of_another_bundle_is_refused(saved, tmp_path, capsys):
    other = make_bundle(tmp_path / "other", seed=7)
    said = refused(capsys, other, saved / "job.json", saved / LINES_FILE)
    assert "is another one (sha256 differs); give the bundle that the app was built with" in said


def test_wrong_files_are_named(tiny, saved, tmp_path, capsys):
    job, lines = saved / "job.json", saved / LINES_FILE
    assert "give the app's job first, then its lines" in refused(capsys, tiny, lines, job)
    assert "holds no line of the harness" in refused(capsys, tiny, job, job)
    assert "No such file" in refused(capsys, tiny, job, tmp_path / "none")
    assert "give the app's two files" in refused(capsys, tiny, job)
    empty = tmp_path / "empty"
    empty.touch()
    assert "it is empty" in refused(capsys, tiny, job, empty)


def test_lines_of_another_job_are_refused(tiny, saved, images, tmp_path, capsys):
    (tmp_path / "app").mkdir()
    other = app_run(tiny, images.subset([0, 1]), HostDriver(), tmp_path / "app")
    said = refused(capsys, tiny, saved / "job.json", other / LINES_FILE)
    assert "lines of another job" in said


def test_a_cut_or_damaged_stream_is_refused(tiny, saved, tmp_path, capsys):
    raw = (saved / LINES_FILE).read_bytes()
    lines, changed = raw.splitlines(keepends=True), tmp_path / "lines.jsonl"
    at = next(i for i, line in enumerate(lines) if b'"type":"image"' in line)
    changed.write_bytes(b"".join(lines[: at + 3])[:-9])
    said = refused(capsys, tiny, saved / "job.json", changed)
    assert f"{2 * IMAGES - 2} of {2 * IMAGES} answers are missing, 1 lines are damaged" in said
    lines[at] = lines[at].replace(b'"image":0', b'"image":1')
    changed.write_bytes(b"".join(lines))
    said = refused(capsys, tiny, saved / "job.json", changed)
    assert f"1 of {2 * IMAGES} answers are missing, 1 lines are damaged (its check fails)" in said


def test_a_device_that_gave_up_is_told(tiny, saved, tmp_path, capsys):
    changed = tmp_path / "lines.jsonl"
    shutil.copyfile(saved / LINES_FILE, changed)
    with changed.open("ab") as f:
        Writer(read_job(saved).id, f.write).line(
            "error", where="job", message="no memory", configuration=None, image=None, fatal=True
        )
    assert "the device says: no memory" in refused(capsys, tiny, saved / "job.json", changed)
