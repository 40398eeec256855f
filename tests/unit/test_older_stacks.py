"""onnx2tf as a further lowering and tflite-runtime as a further runtime: what is said where their
environments are missing, what is judged, and that the runtime really runs files.

The tests that run files in it need 'make tflite-runtime'.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.lowering import LoweringJob
from export.measure.validation import (
    candidates,
    in_runtime,
    predict,
    read_validation_images,
)
from export.targets import environment as environments
from export.targets.base import ModelInfo
from export.targets.environment import folder_of, last_error, programs_in, recipe_of, set_up
from export.targets.target import get_target, require_packages, target_of_file
from export.targets.tflite.older import running as older
from export.targets.tflite.placement.partitions import RuntimeRefusal
from export.targets.tflite.running import Edge
from export.targets.tflite_onnx2tf import convert as onnx2tf
from export.targets.tflite_onnx2tf.check import precision_of
from export.verbs.main import main
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.files import write_json
from mobilemod.manifest import load_bundle
from mobilemod.results.advice import advise
from mobilemod.results.gates import Gates, check
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page
from mobilemod.results.schema import build_record
from mobilemod.results.table import text_table
from mobilemod.stamp import STAMP
from mobilemod.targets import RUNTIMES, TARGETS
from tests.conftest import TEST_DATA
from tests.gpus import unit_op
from tests.tiny_bundle import SIZE, draw_data, make_bundle, network

RUNTIME = RUNTIMES["tflite-runtime"]
ONNX2TF = TARGETS["tflite:onnx2tf"]
TFLITE = get_target("tflite")
FILE = TEST_DATA / "models" / "conv.onnx2tf.tflite"


def lacking() -> str | None:
    """Why nothing runs in tflite-runtime here."""
    try:
        programs_in(RUNTIME)
    except UserError as error:
        return str(error)
    return None


in_it = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Neither environment is there."""
    for environment in (RUNTIME, ONNX2TF.environment):
        monkeypatch.setenv(environment.variable, str(tmp_path / "none"))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """`stand_in(environment, program, script)`: a stamped one with a shell script for a program."""

    def make(environment, program: str, script: str) -> Path:
        folder = tmp_path / "environment"
        (folder / "bin").mkdir(parents=True)
        for name in ("python", program):
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / "bin" / name).chmod(0o755)
        monkeypatch.setenv(environment.variable, str(folder))
        write_json(folder / STAMP, {"recipe": recipe_of(environment)})
        return folder

    return make


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    """A tiny bundle, and a folder of images for it."""
    root = tmp_path_factory.mktemp("older")
    return make_bundle(root / "bundle"), draw_data(root / "data", 1)


# Environments


def test_all_environments_are_known_and_pinned():
    found = environments.environments()
    assert list(found) == ["onnx2tf", "tflite-runtime"]
    assert {n: environments.version_of(e) for n, e in found.items()} == {
        "onnx2tf": "1.29.24", "tflite-runtime": "2.14.0",
    }  # fmt: skip


def test_a_missing_environment_is_one_line(nowhere, tiny, tmp_path, capsys):
    bundle, data = tiny
    arguments = ["validate", str(bundle), "--data", str(data), "--runtime", "tflite-runtime"]
    assert main(arguments) == 2
    said = (
        f"no tflite-runtime in {tmp_path / 'none'}: run 'make tflite-runtime', or give its folder "
        "by MOBILEMOD_TFLITE_RUNTIME\n"
    )
    assert capsys.readouterr().err == f"mobilemod: error: {said}"


def test_a_target_without_its_environment_is_refused_before_any_work(nowhere, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs onnx and onnxscript, not installed here: run 'make"):
        require_packages(ONNX2TF.name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="no onnx2tf in .*: run 'make onnx2tf', or give its folder"):
        require_packages(ONNX2TF.name)


def test_an_environment_of_other_versions_is_not_used(stand_in):
    folder = stand_in(RUNTIME, "python", "exit 1")
    assert programs_in(RUNTIME) == folder / "bin"
    write_json(folder / STAMP, {"recipe": "another"})
    with pytest.raises(UserError, match="other versions than this kit's: run 'make tflite-runtime"):
        programs_in(RUNTIME)
    (folder / STAMP).unlink()
    with pytest.raises(UserError, match="no tflite-runtime in"):
        programs_in(RUNTIME)


def test_setting_up_destroys_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(RUNTIME.variable, str(tmp_path))
    (tmp_path / "thesis.txt").write_text("years")
    assert environments.main(["tflite-runtime", "--out", str(tmp_path)]) == 2
    assert "holds other files and no pyvenv.cfg" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_setting_up_fails_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv(RUNTIME.variable, str(tmp_path / "venv"))
    other = dataclasses.replace(RUNTIME, python="3.4")
    with pytest.raises(UserError, match="needs Python 3.4: put python3.4 on the path"):
        set_up(other)

    def fails(command, **kwargs):
        return subprocess.CompletedProcess(command, 1, "", "noise\nERROR: no such version\nbye")

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(UserError, match="tflite-runtime can't be set up: ERROR: no such version$"):
        set_up(dataclasses.replace(RUNTIME, python=f"3.{sys.version_info.minor}"))
    assert not (folder_of(RUNTIME) / STAMP).exists()


def test_last_error_of_a_failed_program():
    output = "working\nValueError: Shape must be rank 4\n  at line 3\nsaved what there was\n"
    assert last_error(output) == "ValueError: Shape must be rank 4"
    assert last_error("killed\n") == "killed"
    assert last_error("") == "no output"


# Options


@pytest.mark.parametrize(
    "options,said",
    [
        (["--device", "host"], "--runtime is of this machine; it doesn't go with --device"),
        (["--audit-only"], "--runtime needs images: give --data DIR, and no --audit-only"),
    ],
)
def test_what_does_not_go_with_a_runtime(tiny, options, said, capsys):
    bundle, data = tiny
    arguments = ["validate", str(bundle), "--data", str(data), "--runtime", "tflite-runtime"]
    assert main([*arguments, *options]) == 2
    assert said in capsys.readouterr().err


def test_a_bundle_without_a_file_for_a_runtime(tiny, stand_in, monkeypatch):
    stand_in(RUNTIME, "python", "exit 1")
    bundle = load_bundle(tiny[0])
    assert [c.name for c in in_runtime(bundle, "tflite-runtime")] == [
        "tflite int8, tflite-runtime", "tflite float32, tflite-runtime",
    ]  # fmt: skip
    entries = [e.model_copy(update={"target": "executorch"}) for e in bundle.manifest.files]
    manifest = bundle.manifest.model_copy(update={"files": entries})
    said = r"has no file for tflite-runtime: it runs \.tflite and \.onnx2tf\.tflite files"
    with pytest.raises(UserError, match=said):
        in_runtime(dataclasses.replace(bundle, manifest=manifest), "tflite-runtime")


def test_ranges_of_its_own_want_images(monkeypatch):
    from export import bundle

    monkeypatch.setattr(bundle, "require_packages", lambda name: None)
    with pytest.raises(UserError, match="tflite:onnx2tf observes ranges of its own, on images: "):
        bundle.ExportConfig("efficientmod_xxs", Path("out"), targets=(ONNX2TF.name,))


def test_every_precision_is_a_file_of_its_own():
    info = ModelInfo("m", ("a", "b"), Preprocess(size=32))
    images = np.zeros((2, 32, 32, 3), np.uint8)
    jobs = [
        LoweringJob(ONNX2TF.name, {}, {}, "w", None, info, asked=p, observed=images)
        for p in ("int8", ONNX2TF.twin, *ONNX2TF.more_floats)
    ]
    assert [j.file_name for j in jobs] == [
        "m_int8.onnx2tf.tflite", "m_float32.onnx2tf.tflite", "m_float16.onnx2tf.tflite",
    ]  # fmt: skip
    assert len({j.program.key() for j in jobs}) == 3
    other = dataclasses.replace(jobs[0], observed=images + 1)
    assert other.program.key() != jobs[0].program.key()
    assert (jobs[0].program.info.precision, jobs[0].precision) == ("int8", "int8")
    assert jobs[0].program.info.images is images


# onnx2tf's run and its files


def pixels() -> np.ndarray:
    return np.zeros((1, 8, 8, 3), np.float32)


def test_onnx2tf_is_ended_when_its_files_are_there(stand_in, tmp_path):
    """What it would go on with is 16-bit activations."""
    stand_in(ONNX2TF.environment, "onnx2tf", f"""
        mkdir out
        for name in {" ".join(onnx2tf.FILES.values())} model_other.tflite; do
          echo "$name $*" > "out/$name"
        done
        echo "{onnx2tf.ALL_MADE}"
        exec sleep 60""")  # fmt: skip
    onnx = tmp_path / "a.onnx"
    onnx.write_bytes(b"onnx")
    start, out = time.monotonic(), tmp_path / "files"
    onnx2tf.convert(onnx, out, pixels(), (0.5, 0.5, 0.25), (1.0, 1.0, 1.0))
    assert time.monotonic() - start < 30
    assert {p.name for p in out.iterdir()} == set(onnx2tf.FILES.values())
    assert "-qnm [[[[0.5,0.5,0.25]]]]" in onnx2tf.made_file(out, "int8").read_text()
    onnx2tf.made_file(out, "int8").unlink()
    with pytest.raises(UserError, match="onnx2tf wrote no model_full_integer_quant.tflite"):
        onnx2tf.made_file(out, "int8")


@pytest.mark.parametrize(
    "script,said",
    [
        ("echo 'ValueError: no such op'; exit 1", "onnx2tf: ValueError: no such op"),
        ("exec sleep 60", "onnx2tf took longer than 1 s"),
    ],
)
def test_onnx2tf_that_fails(stand_in, tmp_path, monkeypatch, script, said):
    monkeypatch.setattr(onnx2tf, "SECONDS", 1)
    stand_in(ONNX2TF.environment, "onnx2tf", script)
    onnx = tmp_path / "a.onnx"
    onnx.write_bytes(b"onnx")
    with pytest.raises(UserError, match=said):
        onnx2tf.convert(onnx, tmp_path / "files", pixels(), (0.0,) * 3, (1.0,) * 3)


def test_a_file_of_onnx2tf_is_read_and_run(tmp_path, capsys):
    """It is full-integer, its edges too: what takes and gives real numbers converts them."""
    assert main(["inspect", str(FILE), "--json", str(tmp_path / "a.json")]) == 0
    audit = json.loads((tmp_path / "a.json").read_text())
    assert "conv.onnx2tf.tflite  (tflite:onnx2tf," in capsys.readouterr().out
    (found,) = audit["files"]
    assert (found["target"], found["int8_share"]) == ("tflite:onnx2tf", 1.0)
    target = target_of_file(FILE)
    assert target.facts is ONNX2TF and precision_of(FILE) == "int8"
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16), np.float32)
    logits = target.load(FILE).run(x)
    assert logits.dtype == np.float32 and logits.shape == (4,) and logits.std() > 0
    with pytest.raises(UserError, match="no diff of its files"):
        target.open_taps(FILE)


def test_a_file_that_litert_crashes_on_is_refused(monkeypatch):
    from export.targets.tflite_onnx2tf import running

    def crashes(path: str):
        raise RuntimeRefusal("crashes with SIGABRT")

    monkeypatch.setattr(running, "ask_partitions", crashes)
    with pytest.raises(UserError, match="doesn't load the file: crashes with SIGABRT$"):
        target_of_file(FILE).load(FILE)


def test_codes_at_the_edges_are_real_numbers_here():
    edge = Edge((1, 2, 2, 3), "int8", 0.5, 10)
    x = np.float32([-200, -0.25, 0.26, 200] * 3).reshape(1, 3, 2, 2)
    codes = edge.taken(x)
    assert codes.dtype == np.int8 and codes.shape == (1, 2, 2, 3)
    assert codes[0, :, :, 0].tolist() == [[-128, 10], [11, 127]]
    assert edge.given(np.int8([[10, 12]])).tolist() == [0.0, 1.0]
    assert not Edge((1, 3), "int8", 0.0, 0).known and not Edge((1, 3), "int64", 0.0, 0).known


# What is judged


def test_files_of_other_ranges_are_not_promised_to_agree(tmp_path):
    logits = np.eye(4, dtype=np.float32)[np.arange(400) % 4]
    other = np.roll(logits, 1, axis=0)
    rows = [
        Predictions("torch float", logits, "reference"),
        Predictions("a", logits, "int8", "a.tflite"),
        Predictions("b", other, "int8", "b.onnx2tf.tflite"),
        Predictions("a, older", logits, "int8", "a.tflite"),
        Predictions("b, older", other, "int8", "b.onnx2tf.tflite"),
    ]
    files = {"a.tflite": {}, "b.onnx2tf.tflite": {"own_ranges": True}}
    names = [f"{i}.png" for i in range(400)]
    record = build_record(rows, np.arange(400) % 4, [*"abcd"], names, [], {"files": files}, {})
    verdicts = {v.name: v.state for v in check(record, Gates())}
    judged = [n.removeprefix("agreement: ") for n in verdicts if n.startswith("agreement")]
    assert judged == ["a / a, older", "b / b, older"]
    assert verdicts["drop: b"] == "fail" and verdicts["drop: a, older"] == "pass"
    assert len(record["agreement"]) == 10
    said = "not by the parameter table: b, b, older; how it agrees with the others is told, not"
    assert said in text_table(record)
    assert said in page(Known.of_validation(record))


def test_advice_is_of_a_file_s_own_runtime(tiny):
    bundle = load_bundle(tiny[0])
    rows = [{"file": "tiny_int8.tflite", "top1_percent": v, "drop": None} for v in (80.0, 1.0)]
    accuracy = {"images": 1, "predictions": rows}
    manifest = bundle.manifest.model_copy(update={"accuracy": accuracy})
    record = advise(dataclasses.replace(bundle, manifest=manifest))
    told = {c["metric"] for p in record["places"] for c in p["choices"] if c["metric"]}
    assert told == {80.0}


# tflite-runtime itself


@in_it
@pytest.mark.parametrize("int8", [False, True])
def test_a_file_in_tflite_runtime(tmp_path, int8):
    path = tmp_path / "a.tflite"
    weights = np.random.default_rng(0).normal(0, 0.1, (10, 192)).astype(np.float32)
    path.write_bytes(network(weights, int8))
    x = np.random.default_rng(1).standard_normal((3, 3, SIZE, SIZE), np.float32)
    runner, own = TFLITE.load_in("tflite-runtime", path), TFLITE.load(path)
    assert runner.description == "tflite-runtime 2.14.0, XNNPACK, 1 thread"
    step = 0.05 if int8 else 1e-5
    np.testing.assert_allclose(runner.run_many(x), own.run_many(x), atol=step + 1e-6)


@in_it
def test_onnx2tf_s_file_in_tflite_runtime():
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16), np.float32)
    target = target_of_file(FILE)
    found, own = target.load_in("tflite-runtime", FILE).run(x), target.load(FILE).run(x)
    assert np.abs(found - own).max() <= 0.1 * np.abs(own).max()
    opened = older.open_file(FILE)
    logits, seconds = opened.timed(x)
    assert (logits == found).all() and 0 < seconds < 10


@in_it
def test_its_answers_stand_beside_the_own_runtime_s(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path))
    bundle, data = load_bundle(tiny[0]), tiny[1]
    own = [c for c in candidates(bundle) if c.target]
    images = read_validation_images(bundle, data, None)
    rows = predict(bundle, images, own + in_runtime(bundle, "tflite-runtime")).predictions[None]
    assert [(p.name, p.role) for p in rows[2:]] == [
        ("tflite int8, tflite-runtime", "int8"), ("tflite float32, tflite-runtime", "float"),
    ]  # fmt: skip
    for before, now in zip(rows[:2], rows[2:], strict=True):
        assert before.file == now.file and before.runner.startswith("LiteRT")
        assert now.runner.startswith("tflite-runtime 2.14.0")
        assert now.outputs.shape == (10, 10)
    np.testing.assert_allclose(rows[3].outputs, rows[1].outputs, atol=1e-5)


@in_it
def test_a_file_that_tflite_runtime_refuses(tmp_path):
    """An op that came after it."""
    path = tmp_path / "a.tflite"
    path.write_bytes(unit_op(schema.BuiltinOperator.STABLEHLO_COMPOSITE))
    with pytest.raises(UserError, match=f"^{path}: tflite-runtime refuses the file: ValueError: "):
        TFLITE.load_in("tflite-runtime", path)


@in_it
def test_tflite_runtime_that_dies_is_one_line(tmp_path):
    process = older._Process(FILE, 1, programs_in(RUNTIME))
    process.line()
    os.kill(process.process.pid, signal.SIGSEGV)
    process.process.wait()
    with pytest.raises(UserError, match="tflite-runtime fails: crashes with SIGSEGV"):
        process.ask(b"", 1)


def test_a_worker_that_says_nothing_hangs(stand_in, monkeypatch):
    monkeypatch.setattr(older, "SECONDS", 0.3)
    stand_in(RUNTIME, "python", "exec sleep 60")
    with pytest.raises(UserError, match="tflite-runtime hangs"):
        TFLITE.load_in("tflite-runtime", FILE)


def test_the_option_lists_what_there_is():
    from export.verbs.measure import validate

    parser = argparse.ArgumentParser()
    validate.add_options(parser)
    assert "tflite-runtime" in parser.format_help()
