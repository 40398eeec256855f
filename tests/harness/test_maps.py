"""A network whose answers are maps of classes, from the device's lines to its record."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.measure.device_host import BundleHost
from mobilemod.data.imagefolder import ImageFolder, load_pixels
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import NONE, class_map, from_runs, to_runs
from mobilemod.harness.bench.bench import bench
from mobilemod.harness.bench.files import find_files
from mobilemod.harness.bench.job import build
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.domains import Domains
from mobilemod.harness.protocol.lines import Line, decode
from mobilemod.harness.record.host_side import HostAnswers
from mobilemod.harness.record.likeness import SETTLED, Maps, settled
from mobilemod.harness.record.selftest import VALUE_FAULTS, judge
from mobilemod.harness.run.job_build import build_job
from mobilemod.harness.run.session import LINES_FILE, read_lines
from mobilemod.harness.run.validate import validate_devices
from mobilemod.harness.worker import execute
from mobilemod.harness.worker.digest import image_answer, map_sha256
from mobilemod.harness.worker.inputs import Feed
from mobilemod.harness.worker.runtimes import load_tflite
from mobilemod.manifest import load_bundle
from mobilemod.results.device.rows_csv import csv_text
from mobilemod.results.device.spec import validate_device_record
from mobilemod.results.device.table import text_table
from mobilemod.tasks.segmentation import TASK
from tests.harness.broken_worker import VARIABLE
from tests.harness.conftest import PLAN
from tests.harness.devices import Changed, cable_out, resigned
from tests.harness.test_domains import JOB
from tests.harness.test_domains import line as any_line
from tests.harness.test_session import config
from tests.harness.test_units import Broken
from tests.manifests import read_manifest, resign
from tests.tiny_maps import CLASSES, MAP, PREPROCESS, draw_scenes, make_maps_bundle

pytestmark = pytest.mark.alone

SCENES, PIXELS = 6, MAP[0] * MAP[1]
INT8, FLOAT = "maps_int8.tflite", "maps_float32.tflite"


class MapsHost(BundleHost):
    """This machine, without a float network: the float file stands for it."""

    def answers(self, files):
        assert self._images is not None
        p, samples = self._bundle.preprocess, self._images.samples
        x = p.normalize(np.stack([load_pixels(s.path, p) for s in samples]))
        found = {f: TASK.keep(self.run(f, x), CLASSES) for f in (INT8, FLOAT)}
        names = tuple(self._images.name(i) for i in range(len(samples)))
        targets = TASK.targets(self._images, range(len(samples)), p)
        return HostAnswers(names, found[FLOAT], {f: found[f] for f in files}, targets)

    def parts_at(self, file, delegate, x):
        """A network of no modules has no tensors that could be named."""


@pytest.fixture
def tiny(tmp_path) -> Path:
    return make_maps_bundle(tmp_path / "bundle")


@pytest.fixture
def scenes(tiny, tmp_path) -> ImageFolder:
    return load_bundle(tiny).read(draw_scenes(tmp_path / "data", SCENES), "val")


# -- lines


def map_line(changes: dict | None = None, classes: np.ndarray | None = None) -> Line:
    """An `image` line of a map of 2 x 3 pixels."""
    found = np.array([[0, 0, 4], [4, 1, 1]], np.uint8) if classes is None else classes
    said = {"logits": None, "top": [], "runs": to_runs(found), "logits_sha256": map_sha256(found)}
    return any_line("image", **{**said, **(changes or {})})


def golden_line(**changes: object) -> Line:
    return any_line("golden", **{"logits": None, "runs": [0, 2, 4, 2, 1, 2], **changes})


MAPS_JOB = replace(JOB, logits=False)


def test_maps_are_taken_that_the_network_makes():
    domains = Domains(MAPS_JOB, 5, 6)
    assert domains.accept(map_line()) and domains.accept(golden_line())
    unknown = np.full((2, 3), NONE, np.uint8)
    assert domains.accept(map_line(classes=unknown)) and domains.accept(golden_line(runs=[255, 6]))
    # Of a job whose manifest isn't a bundle's nothing is known.
    assert Domains(MAPS_JOB).accept(golden_line(runs=[0, 2**53])) and not domains.refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (map_line({"logits_sha256": "0" * 64}), "zeros"),
        (map_line({"logits_sha256": "1" * 64}), "digest"),
        (map_line({"runs": [0, 2, 4, 2, 1, 1]}), "no map"),
        (map_line({"runs": [0, 2, 4, 2, 1, 3]}), "no map"),
        (map_line({"runs": [0, 2, 4, 2, 5, 2]}), "no map"),
        (map_line({"runs": [0, 2, 4, 1, 4, 1, 1, 2]}), "no map"),
        (map_line({"runs": [0, 2, 4, 2, 255, 2]}), "no map"),
        (map_line({"runs": [0, 2**53]}), "no map"),
        (map_line({"runs": [0, 6, 1]}), "no map"),
        (golden_line(runs=[0, 7]), "no map"),
        (golden_line(runs=[300, 6]), "no map"),
        (golden_line(runs=None, logits=[0.5] * 5), "which the network makes"),
        (any_line("image"), "which the network makes"),
    ],
)
def test_maps_that_cannot_be_are_refused(line, reason):
    domains = Domains(MAPS_JOB, 5, 6)
    assert not domains.accept(line) and reason in next(iter(domains.refused))


def test_a_map_of_a_network_that_makes_none_is_refused():
    for line in (map_line(), golden_line()):
        domains = Domains(JOB, 6)
        assert not domains.accept(line)
        assert "doesn't make" in next(iter(domains.refused))


def test_whatever_runs_a_device_sends_only_its_map_is_taken():
    """Changed at random; what is taken is the runs of a map with that digest."""
    rng = random.Random(3)
    good = map_line()
    taken = 0
    for _ in range(2000):
        runs = list(good["runs"])
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(runs))
            kind = rng.randrange(4)
            if kind == 0:
                runs[at] = rng.choice([0, 1, 2, 4, 5, 254, 255, 256, 2**31, 2**53])
            elif kind == 1:
                runs[at] += rng.choice([-1, 1]) if runs[at] else 1
            elif kind == 2:
                del runs[at]
            else:
                runs.insert(at, rng.randrange(5))
        if len(runs) < 2:
            continue
        if Domains(MAPS_JOB, 5, 6).accept(map_line({"runs": runs})):
            taken += 1
            assert runs == good["runs"]
    assert taken > 100


# -- the self-test


@pytest.fixture(params=["float32", "int8"])
def golden(request, tiny):
    """(precision, the file's map of x, golden images, their maps, preprocessing)."""
    bundle, name = load_bundle(tiny), f"maps_{request.param}.tflite"
    loaded = load_tflite(tiny / name)
    images = [Image.open(tiny / g.image).convert("RGB") for g in bundle.manifest.golden]
    expected = [from_runs(g.runs[name], PIXELS) for g in bundle.manifest.golden]

    def run(x):
        return np.stack([class_map(loaded.infer(loaded.prepare(i[None]))).ravel() for i in x])

    return request.param, run, images, np.stack(expected), bundle.preprocess


def verdict(golden, pixels, own):
    precision, run, images, expected, preprocess = golden
    answered = {"pixels": dict(enumerate(pixels)), "image": dict(enumerate(own))}
    return judge(expected, Maps.of(precision, True), answered, images, preprocess, run)


def test_the_expected_maps_are_right(golden):
    test = verdict(golden, golden[3], golden[3])
    assert (test.verdict, test.pixels_error, test.image_error) == ("right", 0.0, 0.0)
    assert test.steps is None and test.sqnr_db is None


@pytest.mark.parametrize("fault", VALUE_FAULTS)
def test_a_preprocessing_fault_is_named(golden, fault):
    _, run, images, expected, preprocess = golden
    maps = run(np.stack([VALUE_FAULTS[fault](i, preprocess) for i in images]))
    same = [name for name, other in VALUE_FAULTS.items()
            if (run(np.stack([other(i, preprocess) for i in images])) == maps).all()]  # fmt: skip
    # By the app's own way alone, and by both.
    for pixels in (expected, maps):
        test = verdict(golden, pixels, maps)
        assert test.verdict == "preprocessing" and test.fault in same
    shares = (maps != expected).mean(axis=1)
    assert (test.pixels_error, test.image) == (shares.max(), shares.argmax())


def test_maps_that_nothing_explains_are_the_runtimes(golden):
    other = (golden[3] + 1) % CLASSES
    test = verdict(golden, other, golden[3])
    assert (test.verdict, test.fault, test.pixels_error) == ("runtime", None, 1.0)
    broken = np.stack([golden[3][0], np.full(PIXELS, NONE, np.uint8)])
    test = verdict(golden, broken, golden[3])
    assert (test.verdict, test.pixels_error, test.image) == ("runtime", None, 1)


def test_limits():
    assert Maps.of("int8", True).limit == SETTLED < Maps.of("int8", False).limit
    assert Maps.of("float32", False) == Maps.of("float32", True)


def test_what_rounding_decides_is_settled():
    """Five steps of 0.1 between two classes, and six."""
    outputs = np.array([[1.0, 1.0, 1.0], [0.5, 0.4, 0.1], [0.3, 0.2, 0.9]], np.float32)
    expected = np.zeros(3, np.uint8)
    observed = np.array([1, 1, 2], np.uint8)
    assert settled(observed, expected, outputs, "int8").tolist() == [0, 1, 0]
    assert settled(observed, expected, outputs, "float32").tolist() == [1, 1, 2]
    for strange in (np.array([NONE] * 3, np.uint8), np.array([0, 0, 7], np.uint8)):
        assert settled(strange, expected, outputs, "int8") is strange


# -- jobs


def test_a_bundle_of_maps_on_this_machine(tiny, scenes):
    (record,), report = validate_devices(config(tiny, scenes), MapsHost)
    validate_device_record(json.loads(json.dumps(record)), "record", "")
    assert record["complete"] and record["counts"]["answered"] == 2 * SCENES
    assert record["refused"] == {} and record["counts"]["damaged_lines"] == 0
    host = MapsHost(load_bundle(tiny), scenes).answers([INT8, FLOAT])
    for file in record["files"]:
        a, own = file["accuracy"], host.files[file["file"]]
        figures = TASK.figures(own, host.targets)
        assert {k: a[k] for k in figures} == figures
        drop = TASK.drop(host.reference, own, host.targets)
        assert (a["drop"]["points"], a["drop"]["low"], a["drop"]["high"]) == (
            drop.points, drop.low, drop.high,
        )  # fmt: skip
        assert a["paired_images"] == SCENES and a["non_finite"] == 0
        assert a["host"] == {
            "images": SCENES, "identical": SCENES, "pixel_agreement_percent": 100.0,
            "differing": [], "sqnr_db": None,
        }  # fmt: skip
        assert {c["self_test"]["verdict"] for c in file["configurations"]} == {"right"}
        assert file["configurations"][0]["latency"]["runs"] >= 70
    text, page = text_table(record), report.read_text("utf-8")
    assert f"{SCENES} of {SCENES} bit-equal, 100.00 % of the pixels" in text
    assert "0.00% of the pixels other than in the golden maps, gate 0.20%: pass" in text
    assert "identical maps" in page and "pixels alike %" in page and "mIoU" in page
    head, *rows = csv_text([record]).splitlines()
    assert "mean_iou_percent,pixel_accuracy_percent,drop" in head and "top1" not in head
    assert "host_pixel_agreement_percent" in head and len(rows) == 4


def test_files_of_classes_say_what_those_of_scores_say(tiny, scenes, tmp_path):
    """Lines, figures and the self-test of the same network, whose files give the maps."""
    classes = make_maps_bundle(tmp_path / "classes", answer="classes")
    for a, b in zip(load_bundle(tiny).manifest.golden, load_bundle(classes).manifest.golden,
                    strict=True):  # fmt: skip
        assert a.runs == b.runs
    loaded = load_tflite(classes / INT8)
    found = loaded.infer(loaded.prepare(np.zeros((1, 3, *PREPROCESS.sides), np.float32)))
    assert found.shape == MAP and found.dtype == np.uint8
    (one,), _ = validate_devices(config(tiny, scenes), MapsHost)
    (other,), _ = validate_devices(config(classes, scenes), MapsHost)
    assert other["complete"] and other["refused"] == {}
    for a, b in zip(one["files"], other["files"], strict=True):
        assert b["accuracy"] == a["accuracy"]
        assert {c["self_test"]["verdict"] for c in b["configurations"]} == {"right"}
        # What rounding decides can't be told of maps alone.
        test = Maps.of(b["precision"], False)
        assert b["configurations"][0]["self_test"]["tolerance"] == test.limit
    runs = [
        [line["runs"] for line in lines_of(folder) if line.type in ("image", "golden")]
        for folder in (tiny, classes)
    ]
    assert runs[0] == runs[1] and len(runs[0]) > 2 * SCENES


def lines_of(folder: Path) -> list[Line]:
    """Of the one run of a bundle on this machine."""
    path = next((folder / "devices" / "host").glob("2*")) / LINES_FILE
    return [decode(raw) for raw in path.read_bytes().splitlines(keepends=True)]


def test_a_map_that_differs_is_counted(tiny, scenes):
    """One pixel of each answer of the int8 file is another class."""

    def change(raw: bytes, number: int, start: int) -> bytes:
        line = decode(raw)
        if line.type != "image" or line["configuration"] != 0:
            return raw
        found = from_runs(line["runs"], PIXELS).copy()
        found[7] = (found[7] + 1) % CLASSES
        return resigned(raw, runs=to_runs(found), logits_sha256=map_sha256(found))

    (record,), _ = validate_devices(config(tiny, scenes), MapsHost, lambda _: Changed(change))
    int8, whole = (f["accuracy"]["host"] for f in record["files"])
    assert int8["identical"] == 0 and whole["identical"] == SCENES
    assert int8["pixel_agreement_percent"] == pytest.approx(100 * (1 - 1 / PIXELS))
    assert int8["differing"] == []
    gates = {v["name"]: v["value"] for v in record["verdicts"]}
    assert gates[f"{INT8}: agreement with the host"] == int8["pixel_agreement_percent"]


def test_a_lost_device_goes_on_where_it_was(tiny, scenes, tmp_path):
    device = Changed(cable_out(after=9, times=1))
    (record,), _ = validate_devices(config(tiny, scenes), MapsHost, lambda _: device)
    assert record["complete"] and record["counts"]["runs"] == 2
    assert record["counts"]["answered"] == 2 * SCENES
    assert record["counts"]["answered_again"] == 0
    run = next((tiny / "devices" / "host").glob("2*"))
    built = build_job(load_bundle(tiny), scenes, HostDriver(), PLAN, tmp_path / "job")
    domains = Domains.of(built.folder.job, load_bundle(tiny).manifest)
    lines, _, held, refused = read_lines(run / LINES_FILE, built.folder.job, domains)
    assert refused == 0 and not held.open_phases()
    assert {len(answers) for answers in held.answered.values()} == {SCENES}
    assert not built.folder.job.logits
    assert all(v["runs"] and not v["top"] for v in lines if v.type == "image")


def test_a_wrong_unit_is_named_by_its_pixels(tiny, scenes, monkeypatch):
    monkeypatch.setenv(VARIABLE, "wrong")
    (record,), report = validate_devices(config(tiny, scenes), MapsHost, lambda _: Broken())
    tests = {f["file"]: f["configurations"][1]["self_test"] for f in record["files"]}
    # The largest constant of the int8 file is its biases, which are zero.
    assert (tests[FLOAT]["verdict"], tests[INT8]["verdict"]) == ("runtime", "right")
    assert all(f["self_test"]["verdict"] == "right" for f in record["files"])
    test = tests[FLOAT]
    said = f"{test['pixels_error']:.2%} of the pixels at golden image {test['image']} of {FLOAT}"
    assert said in text_table(record) and said in report.read_text("utf-8")
    assert any(said in w["line"] for w in record["warnings"])


@pytest.mark.parametrize("answer", ["scores", "classes"])
def test_bench_compares_maps(tmp_path, answer):
    from export.targets.target import target_of_file

    tiny = make_maps_bundle(tmp_path / "tiny", answer=answer)
    record, _ = bench(tiny, "host", lambda path: target_of_file(path).load(path), runs=3)
    for file in record["files"]:
        assert file["map"]["identical"] and file["map"]["count"] == PIXELS
        assert file["map"]["differing"] == 0 and "logits" not in file


@pytest.mark.parametrize(
    ("given", "answer", "classes"),
    [(np.zeros(MAP, np.uint8), "classes", 255), (np.zeros((4, *MAP), np.float32), "scores", 4)],
)
def test_a_job_of_a_file_in_no_bundle_says_what_it_gives(tiny, tmp_path, given, answer, classes):
    alone = tmp_path / "alone.tflite"
    alone.write_bytes((tiny / INT8).read_bytes())
    job = build(find_files(alone), given, 1, 3, HostDriver(), tmp_path / "job")
    manifest = json.loads(job.path("manifest.json").read_text("utf-8"))
    assert (manifest["map"], manifest["answer"]) == (list(MAP), answer)
    assert manifest["num_classes"] == classes and job.job.golden


# -- what can't be


def changed_manifest(tiny: Path, **changes: object) -> None:
    resign(tiny, {**read_manifest(tiny), **changes})


def test_maps_too_long_for_a_line_are_told_before_anything_runs(tiny, scenes, tmp_path):
    bundle = load_bundle(tiny)
    large = bundle.manifest.model_copy(update={"map": [600, 600], "num_classes": 150})
    with pytest.raises(UserError, match="600 x 600 pixels in 150 classes may take 2,160,002 bytes"):
        build_job(replace(bundle, manifest=large), scenes, HostDriver(), PLAN, tmp_path / "job")


@pytest.mark.parametrize("size", [[8], [8, 0], [8, 12.5], "8x12", [8, True]])
def test_a_job_with_a_map_of_no_size_is_refused(tiny, tmp_path, size):
    built = build_job(load_bundle(tiny), None, HostDriver(), PLAN, tmp_path / "job")
    path = built.folder.path("manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "map": size}))
    with pytest.raises(UserError, match="map is .*expected its height and width"):
        Feed(built.folder)


def test_a_file_with_other_outputs_than_its_maps_is_an_error(tiny, scenes, tmp_path):
    with pytest.raises(ValueError, match="reshape"):
        image_answer(np.zeros(7, np.float32), (2, 3), False)
    bundle = load_bundle(tiny)
    built = build_job(bundle, scenes, HostDriver(), PLAN, tmp_path / "job")
    sent: list[bytes] = []
    manifest = built.folder.path("manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "map": [7, 11]}))
    with pytest.raises(execute.Refused):
        execute.execute(built.folder.folder, sent.append, "test")
    assert "sha256 differs" in decode(sent[-1])["message"]
