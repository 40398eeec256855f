"""The main job on real images: export, validate, inspect, report, as a user runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from export.source import bundled_checkpoint
from export.targets.target import target_of_file
from mobilemod.manifest import load_bundle
from mobilemod.results.schema import validate_record
from mobilemod.targets import DEFAULTS
from tests.commands import said

LIMIT = 40


@pytest.fixture(scope="module")
def bundle(export, data_dir, tmp_path_factory):
    """The bundled checkpoint at 64 pixels, all targets, calibrated on real images."""
    out = tmp_path_factory.mktemp("bundle") / "efficientmod_xxs"
    process = export(out, "--data", data_dir, "--size", "64", "--json", "-")
    assert said(process) == []
    return out, json.loads(process.stdout)


@pytest.fixture(scope="module")
def measured(run, data_dir, bundle):
    """The validation of that bundle on a few images: the record."""
    out, _ = bundle
    limits = ("--max-drop", "100", "--min-agreement", "0")
    process = run("validate", out, "--data", data_dir, "--limit", LIMIT, *limits, "--json", "-")
    # Few images: nothing fails, not everything is decided.
    assert process.returncode in (0, 4), process.stderr
    return json.loads(process.stdout)


@pytest.mark.slow
def test_the_bundle_is_whole(bundle):
    out, record = bundle
    loaded = load_bundle(out)
    files = {e.file: e for e in loaded.manifest.files}
    assert {(e.target, e.precision == "int8") for e in files.values()} == {
        (t, int8) for t in DEFAULTS for int8 in (True, False)
    }
    assert loaded.manifest.calibration.origin == "images"
    assert loaded.manifest.calibration.images == 256
    assert len(loaded.label_names) == 10 and loaded.label_names[0] == "tench"
    for entry in record["files"]:
        if entry["precision"] == "int8":
            assert entry["audit"]["int8_share"] >= 0.99
            assert entry["bytes"] < 0.4 * files[entry["file"].replace("int8", "float32")].bytes \
                if entry["target"] != "coreml" else True  # fmt: skip
    assert all(p.stat().st_mode & 0o444 for p in out.iterdir())


@pytest.mark.slow
def test_golden_images_reproduce_their_logits(bundle):
    out, _ = bundle
    loaded = load_bundle(out)
    assert len(loaded.manifest.golden) == 5
    for entry in loaded.manifest.golden:
        with Image.open(out / entry.image) as image:
            pixels = np.asarray(image)
        assert pixels.shape == (64, 64, 3)
        x = loaded.preprocess.normalize(pixels[None])
        for file in loaded.manifest.files:
            got = target_of_file(out / file.file).load(out / file.file).run(x)
            want = np.array(entry.logits[file.file])
            assert np.allclose(got.ravel(), want, atol=2e-5), file.file
            if file.precision == "float32":
                assert np.allclose(got.ravel(), entry.logits["reference"], atol=1e-3)


@pytest.mark.slow
def test_validation_measures_every_file(bundle, measured):
    out, _ = bundle
    validate_record(measured)
    assert measured["data"]["images"] == LIMIT
    roles = [p["role"] for p in measured["predictions"]]
    assert roles.count("int8") == 3 and roles.count("float") == 3 and "reference" in roles
    by_name = {p["name"]: p for p in measured["predictions"]}
    reference = by_name["torch float"]["top1_percent"]
    for p in measured["predictions"]:
        if p["role"] == "float":
            assert abs(p["top1_percent"] - reference) <= 100 / LIMIT + 1e-9
    page = (out / "report" / "report.html").read_text("utf-8")
    assert "tench" in page and "<script" not in page
    accuracy = load_bundle(out).manifest.accuracy
    assert accuracy["images"] == LIMIT


@pytest.mark.slow
def test_the_gates_decide_the_exit_code(run, data_dir, bundle, measured):
    out, _ = bundle
    words = ("--data", data_dir, "--limit", LIMIT, "--min-agreement", "100", "--json", "-")
    process = run("validate", out, *words)
    states = [v["state"] for v in json.loads(process.stdout)["verdicts"]]
    worst = next((s for s in ("fail", "undecided") if s in states), "pass")
    assert process.returncode == {"pass": 0, "fail": 1, "undecided": 4}[worst]


@pytest.mark.slow
def test_report_prints_what_was_measured(run, bundle, measured):
    out, _ = bundle
    process = run("report", out)
    assert process.returncode == 0
    for target in DEFAULTS:
        assert f"{target} int8" in process.stdout


@pytest.mark.slow
def test_inspect_names_published_modules(run, bundle):
    out, _ = bundle
    files = [out / e.file for e in load_bundle(out).manifest.files if e.precision == "int8"]
    process = run("inspect", *files, "--json", "-")
    assert process.returncode == 0, process.stderr
    for audit in json.loads(process.stdout)["files"]:
        assert audit["int8_share"] >= 0.99
        assert audit["partitions"] in (1, None)
        modules = [f["module"] for f in audit["float_ops"] if f["op"] == "softmax"]
        # Core ML's classifier has one more at its end.
        others = [m for m in modules if not m.endswith(".attn")]
        assert others == (["head"] if audit["target"] == "coreml" else [])
        assert len(modules) > 2


@pytest.mark.slow
def test_without_data_the_bundled_table_serves(run, export, tmp_path):
    out = tmp_path / "bundle"
    process = export(out, "--targets", "tflite", "--size", "64")
    assert "not measured" in process.stdout
    manifest = load_bundle(out).manifest
    assert manifest.calibration.origin.startswith("table")
    assert manifest.accuracy is None and len(manifest.golden) == 1
    process = run("validate", out)
    assert process.returncode == 2 and "--audit-only" in process.stderr
    process = run("validate", out, "--audit-only")
    assert process.returncode == 0 and "not measured" in process.stdout
    report = out / "report" / "validation.json"
    assert not json.loads(report.read_text("utf-8"))["measured"]
    report.write_text('{"measured": true}', "utf-8")
    process = run("validate", out, "--audit-only")
    assert process.returncode == 0 and "left as it was" in process.stdout
    assert report.read_text("utf-8") == '{"measured": true}'


def test_help_shows_an_example(here):
    for verb in (
        "data",
        "train",
        "export",
        "validate",
        "inspect",
        "profile",
        "report",
        "sensitivity",
        "bench",
        "arm64",
    ):
        process = here(verb, "--help")
        assert process.returncode == 0 and f"example: mobilemod {verb}" in process.stdout


def test_the_bundled_table_is_of_the_bundled_weights(bundled_form):
    from export.source import bundled_calibration
    from quantization.calibration import load_calibration
    from quantization.prepare.preparation import from_table

    path = bundled_checkpoint("efficientmod_xxs")
    assert path.stat().st_size < 10e6
    table = load_calibration(bundled_calibration(path))
    prepared = from_table(bundled_form, table, "table")  # UserError where its weights aren't these
    assert prepared.calibration == table and table.count == 256
    assert prepared.reference != table.weights  # equalization and bias correction


@pytest.mark.slow
@pytest.mark.long
def test_files_on_a_gpu(run, data_dir, bundle, measured, on_a_gpu):
    """Both files whole, their answers the processor's; the rest of the record as without it."""
    out, _ = bundle
    limits = ("--max-drop", "100", "--min-agreement", "90", "--limit", LIMIT)
    process = run("validate", out, "--data", data_dir, *limits, "--gpu", "--json", "-")
    record = json.loads(process.stdout)
    assert record["gpu"]["images"] == 20
    assert {e["file"].partition(".")[2] for e in record["gpu"]["files"]} == {"tflite"}
    judged = [v for v in record["verdicts"] if v["kind"] == "gpu"]
    assert len(judged) == 2 and all(v["passed"] for v in judged), [v["line"] for v in judged]
    assert "fully accelerated by " in judged[0]["line"]
    assert {**record, "gpu": None, "verdicts": None} == {**measured, "verdicts": None}
    assert "on a GPU" in run("report", out).stdout
