"""The one page over all that a bundle knows: its state, its parts, and that it is legible."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mobilemod.evaluation.accuracy import Predictions
from mobilemod.files import file_sha256, write_json
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.run.validate import validate_devices
from mobilemod.manifest import load_bundle
from mobilemod.results.gates import Gates, check, judged
from mobilemod.results.report.decision import decide
from mobilemod.results.report.known import Known, read_known
from mobilemod.results.report.page import page, write_report
from mobilemod.results.report.words import in_words
from mobilemod.results.schema import build_record
from mobilemod.results.verdict import Verdict
from mobilemod.sealed import sealed
from mobilemod.tasks import get_task
from mobilemod.tasks.classification import TASK
from tests.harness.conftest import Host
from tests.harness.test_session import config
from tests.tiny_bundle import IDS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
MODULES = ROOT / "apps" / "web" / "node_modules"
IMAGES = 200
GROUPS = ["accuracy", "devices", "slow", "answers", "stress", "sensitivity-xnnpack-module",
          "search-tflite", "files"]  # fmt: skip


def validation(identity: str, lost: int = 0) -> dict:
    """A record of a bundle's files, of which int8 is wrong on `lost` more images."""
    targets = np.arange(IMAGES) % len(IDS)
    base = np.eye(len(IDS), dtype=np.float32)[targets] * 4
    base[:20] = np.roll(base[:20], 1, axis=1)
    int8 = base.copy()
    int8[20 : 20 + lost] = np.roll(int8[20 : 20 + lost], 3, axis=1)
    models = [
        Predictions("torch float", base, "reference"),
        Predictions("tflite int8", int8, "int8", "tiny_int8.tflite", "LiteRT"),
        Predictions("tflite float32", base, "float", "tiny_float32.tflite", "LiteRT"),
    ]
    info = {"model": "tiny", "manifest": identity}
    names = [f"{i}.png" for i in range(IMAGES)]
    ops = {f"op {n}": n for n in range(9)}
    audits = {f"{'a_long_name_' * 4}int8.tflite": {"int8_share": 1.0, "float_ops": ops}}
    record = build_record(models, targets, list(IDS), names, [], info, audits)
    return judged(record, check(record, Gates(max_upper=5)))


def sensitivity() -> dict:
    """A record of two modules."""
    effect = {"sqnr_db": 32.8, "identical": False, "loss_change": 0.001, "kl": 3e-5,
              "top1_agreement_percent": 97.5}  # fmt: skip
    items = [
        {
            "name": f"layers.{n}", "kind": "module", "tensors": [f"layers.{n}:out"], "order": n,
            "rank_alone": n + 1, "rank_left_float": n + 1, "alone": effect,
            "left_float": {**effect, "gain_db": 2.0}, "activations": [],
        }
        for n in range(2)
    ]  # fmt: skip
    histogram = {"item": "layers.0", "tensor": "layers.0:out", "sqnr_db": 30.0, "low": -1.0,
                 "high": 1.0, "clipped_share": 0.01, "used_codes": 200, "first_code": -384,
                 "counts": [0] * 250 + [5] * 270 + [0] * 248}  # fmt: skip
    return {
        "schema": "mobilemod/sensitivity/1", "model": "tiny", "images": 8, "form": "xnnpack",
        "recipe": "cpu", "by": "module", "targets": "labels", "float_loss": 0.5,
        "quantized": effect, "gain_noise_db": 0.1, "items": items, "histograms": [histogram],
    }  # fmt: skip


def profile(file: Path) -> dict:
    """A record of two ops."""
    unit = {"op": "conv", "module": "layers.0", "dtype": "int8", "shape": [1, 8, 4, 4],
            "macs": 9_000_000, "ms": 0.75}  # fmt: skip
    units = [unit, {**unit, "op": "softmax", "dtype": "float32", "macs": 0, "ms": 0.25}]
    return {
        "schema": "mobilemod/profile/1", "sum_ms": 1.0, "bound_ms": 0.75, "fastest_gmac_per_s": 12,
        "file": file.name, "target": "tflite", "threads": 1, "whole_ms": 1.1, "overhead_us": 3.0,
        "units": units, "sha256": file_sha256(file),
    }  # fmt: skip


@pytest.fixture(scope="module")
def measured(tiny_source, images, tmp_path_factory) -> Path:
    """A bundle that everything was measured of."""
    folder = Path(shutil.copytree(tiny_source, tmp_path_factory.mktemp("whole") / "bundle"))
    validate_devices(replace(config(folder, images, "host")), Host, lambda _: HostDriver())
    bundle = load_bundle(folder)
    write_json(folder / "report" / "validation.json", sealed(validation(bundle.identity)))
    stress = json.loads((RESULTS / "efficientmod_xxs-stress.json").read_text())
    search = json.loads((RESULTS / "search.json").read_text())
    for model in stress["models"]:
        model.pop("sha256", None)
    weights = bundle.manifest.checkpoint.weights
    write_json(folder / "stress" / "stress.json", stress)
    write_json(folder / "search" / "search-tflite.json", {**search, "weights": weights})
    write_json(folder / "search" / "mixed.json", {"schema": "mobilemod/recipe/1"})
    write_json(folder / "sensitivity" / "sensitivity-xnnpack-module.json", sensitivity())
    file = folder / "tiny_int8.tflite"
    write_json(folder / "profile" / f"{file.name}.json", profile(file))
    write_report(folder)
    return folder


@pytest.fixture
def known(measured) -> Known:
    return read_known(load_bundle(measured))


class Outline(HTMLParser):
    """Ids, links within the page, and what a page would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key == "id":
                self.ids.append(value)
            elif key == "href":
                self.links.append(value)
            elif key in ("src", "action") and not value.startswith("data:"):
                self.fetched.append(value)


def test_one_page_holds_all_and_its_contents_lead_there(measured, capsys):
    path = write_report(measured)
    assert capsys.readouterr().err == ""
    outline = Outline(path.read_text("utf-8"))
    assert outline.ids == GROUPS and outline.links == [f"#{i}" for i in GROUPS]
    assert outline.fetched == []
    assert not list(measured.rglob("devices/*.html")) and len(list(measured.rglob("*.html"))) == 1


def test_every_part_shows_its_figures(measured, known):
    html = page(known)
    stress = known.stress["models"][1]["mean_drop"]
    for text in (
        f"{stress['points']:.2f}",
        "Where is it slow",
        "<b>0.75</b> ms, 75.0 %",
        "Which classes are taken for which",
        "Truth: ",
        "+2.00",
        "estimated cost",
    ):
        assert text in html or text == "Truth: ", text


def test_the_first_screen_says_what_each_file_is(known):
    first = page(known).partition("<nav")[0]
    (comparison, *_) = known.devices[0]["comparisons"]
    sizes = {e.precision: e.bytes for e in known.files}
    for text in (
        f"{comparison['ratio']:.2f} times as fast</b> on host",
        "<b>0.00</b> points lost",
        f"{sizes['float32'] / sizes['int8']:.1f} times smaller than float32",
        "upper end ",
        "LiteRT",
    ):
        assert text in first, text
    assert first.index("No phone and no browser") < first.index('class="file-cards"')


def changed(known: Known, **values) -> Known:
    return replace(copy.deepcopy(known), **values)


def on_phone(known: Known) -> Known:
    """The same, measured on a device that files are shipped to, with nothing to say against it."""
    device = copy.deepcopy(known.devices[0])
    device["device"] |= {"name": "adb:X1", "kind": "adb"}
    passed = {"state": "pass", "passed": True}
    device["verdicts"] = [v | passed for v in device["verdicts"]]
    stress = copy.deepcopy(known.stress)
    stress["verdicts"] = [{**v, **passed} for v in stress["verdicts"]]
    return replace(known, devices=(device,), stress=stress)


def test_ship_it_takes_every_gate_and_a_device(known):
    phone = on_phone(known)
    assert (decide(phone).state, decide(phone).badge) == ("pass", "Ship it")
    assert decide(replace(phone, devices=known.devices)).badge != "Ship it"
    assert decide(replace(phone, devices=())).badge == "Look first"
    html = page(phone)
    assert 'class="badge pass">Ship it' in html and "No phone and no browser" not in html


@pytest.mark.parametrize(
    ("change", "state", "words"),
    [
        (lambda r: r["verdicts"][0].update(state="fail", passed=False, value=2.0),
         "fail", "tflite int8 loses more top-1 than it may"),
        (lambda r: r["verdicts"][0].update(state="undecided", passed=False, images_needed=783),
         "undecided", "too few images to tell"),
        (lambda r: r["data"].update(folder="d", split="val", calibrated_on=9),
         "undecided", "The images are too kind a test"),
        (lambda r: r["data"].update(folder="d", split="train"), "undecided", "too kind a test"),
        (lambda r: r["data"]["damaged"].append("x.jpg"), "undecided", "1 image could not be read"),
        (lambda r: r["predictions"][1].update(non_finite=3), "undecided", "that are no numbers"),
        (lambda r: r.update(verdicts=None), "undecided", "no gate was applied"),
    ],
)  # fmt: skip
def test_what_speaks_against_shipping(known, change, state, words):
    phone = on_phone(known)
    record = copy.deepcopy(phone.validation)
    change(record)
    decision = decide(replace(phone, validation=record))
    assert decision.state == state and words in decision.reasons[0].words


def test_a_unit_that_is_wrong_and_a_failed_device_are_said(known):
    phone = on_phone(known)
    device = copy.deepcopy(phone.devices[0])
    device["warnings"] = [{"name": "self-test", "line": "GPU: 37 steps"}]
    decision = decide(replace(phone, devices=(device,)))
    assert decision.badge == "Look first" and decision.reasons[0].line == "GPU: 37 steps"
    device["verdicts"][1] |= {"state": "fail", "passed": False}
    decision = decide(replace(phone, devices=(device,)))
    assert decision.badge == "Don't ship it" and decision.reasons[0].where == "adb:X1"


def test_nothing_measured_is_not_shipped(known):
    decision = decide(Known("tiny", TASK, known.files))
    assert decision.badge == "Don't ship it"
    assert decision.reasons[0].words == "What int8 costs was never measured"
    assert 'class="badge fail"' in page(Known("tiny", TASK, known.files))


def test_an_evaluator_in_place_of_a_runtime_is_marked(known):
    record = copy.deepcopy(known.validation)
    record["predictions"][1]["file"] = "a.mlpackage"
    entry = replace(known.files[0], file="a.mlpackage", target="coreml", precision="int8")
    html = page(replace(known, files=(entry,), validation=record))
    head = html.partition('<div class="file-cards">')[0]
    said = "Our MIL evaluator ran it here, which isn&#x27;t Apple&#x27;s runtime"
    assert said in head.partition("<header")[2] and html.count(said) == 2
    assert said not in page(known)


def test_a_record_of_before_is_shown():
    record = json.loads((RESULTS / "efficientmod_s_conv-validation.json").read_text())
    assert "confusion" not in record
    html = page(Known.of_validation(record))
    assert f"{record['predictions'][0]['top1_percent']:.2f}" in html and "Per class" in html
    assert "Which classes are taken for which" not in html


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("stress/stress.json", '{"schema": ', "is damaged (JSONDecodeError"),
        ("stress/stress.json", '{"schema": "mobilemod/stress/1"}',
         "is damaged (KeyError: 'models')"),
        ("profile/x.json", "[]", "is damaged (TypeError: no object)"),
        ("profile/tiny_int8.tflite.json", '{"schema": "mobilemod/profile/1", "sha256": "other"}',
         "is of another export of the bundle"),
        ("sensitivity/sensitivity-xnnpack-module.json",
         '{"schema": "mobilemod/sensitivity/1", "weights": "other"}', "is of another export"),
        ("search/search-tflite.json", "9" * 9999, "is damaged"),
        ("report/validation.json", "{}", "has no digest"),
        ("report/pictures.json", "{}", "pictures are left out"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out_and_said(measured, tmp_path, capsys, file, text, said):
    folder = Path(shutil.copytree(measured, tmp_path / "bundle"))
    (folder / file).write_text(text)
    html = write_report(folder).read_text("utf-8")
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(str(folder / file)) and said in error
    assert ("A record of the bundle can&#x27;t be used" in html) == ("pictures" not in file)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict("drop: a", "pass", "", "drop", 0.1, 0.5), "a loses no more top-1 than it may"),
        (Verdict("drop: a", "fail", "", "drop", None, 0.5), "a was not compared with the float "
         "network"),
        (Verdict("drop: a", "undecided", "", "drop", 0.1, 0.5, "near chance"),
         "a can't be judged by its top-1"),
        (Verdict("mean drop: a", "fail", "", "mean drop", 3.0, 0.7),
         "a loses more top-1 than it may on corrupted images"),
        (Verdict("agreement: a / b", "pass", "", "agreement", 100.0, 99),
         "a and b give the same top-1"),
        (Verdict("agreement: a / b", "fail", "", "agreement", None, 99),
         "a and b could not be compared"),
        (Verdict("f: agreement with the host", "fail", "", "limit", 90.0, 99),
         "f answers otherwise than on this machine more often than they may"),
        (Verdict("gpu: f", "fail", "", "gpu"), "f does not run on the GPU as it should"),
        (Verdict("self-test: f", "undecided", "", "self-test"), "f has nothing there to run on"),
        (Verdict("f, 1 thread: p90", "fail", "", "limit", 30.0, 20),
         "f, 1 thread: p90 is beyond its limit"),
        (Verdict("f, 1 thread: p90", "fail", "", "limit", None, 20),
         "f, 1 thread: p90 was not measured"),
        (Verdict("complete", "fail", ""), "Answers are missing"),
        (Verdict("int8 files", "fail", ""), "No int8 file was compared with the float network"),
    ],
)  # fmt: skip
def test_gates_in_words(verdict, words):
    assert in_words(verdict.to_dict(), get_task("classification")) == words


def test_confusions_add_up(known):
    record = known.validation
    (first, *_) = record["confusion"]
    assert first["images"] == [2, 2, 2] and len(record["confusion"]) == 10
    wrong = sum(pair["images"][1] for pair in record["confusion"])
    assert wrong == pytest.approx(IMAGES * (1 - record["predictions"][1]["top1_percent"] / 100))
    more = validation("", lost=7)
    assert sum(pair["images"][1] for pair in more["confusion"]) == wrong + 7
    row = more["disagreements"][0]
    assert row["confidence"][0] == pytest.approx(np.exp(4) / (np.exp(4) + 9))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_axe_finds_nothing_serious_and_nothing_is_too_wide(measured, tmp_path, task):
    """At a phone's and a desk's width, light and dark, everything folded out."""
    chromium = subprocess.run([ROOT / "apps/web/chromium.sh"], capture_output=True, text=True)
    if chromium.returncode or not (MODULES / "axe-core").is_dir():
        pytest.skip("needs a Chromium and apps/web's node_modules (npm ci)")
    path = measured / "report" / "report.html"
    if task == "segmentation":
        path = tmp_path / "maps.html"
        path.write_text(page(Known.of_validation(maps_record())), "utf-8")
    script = ROOT / "tests" / "harness" / "axe.mjs"
    env = {**os.environ, "CHROME": chromium.stdout.strip()}
    done = subprocess.run(["node", script, path], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def maps_record() -> dict:
    """A record of drawn maps."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, (6, 16, 16), dtype=np.uint8)
    other = np.where(rng.random(truth.shape) < 0.2, 0, truth).astype(np.uint8)
    models = [
        Predictions("torch float", truth, "reference"),
        Predictions("tflite int8", other, "int8", "a.tflite", "LiteRT"),
    ]
    names, labels = [f"{i}.png" for i in range(6)], ["sky", "road", "car"]
    record = build_record(models, truth, labels, names, [], {}, {}, task="segmentation")
    return judged(record, check(record, Gates()))
