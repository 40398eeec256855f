"""A bundle's files on a GPU: what falls out by name, what is judged, and what is said without one.

The tests that run a file need a GPU that LiteRT finds, or SwiftShader ('make gpu').
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.measure import gpu as measure
from export.measure.validation import Answers, Candidate
from export.targets.base import GpuRun
from export.targets.target import Target, get_target
from export.targets.tflite import gpu
from mobilemod.data.imagefolder import ImageFolder, read_batch
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.harness.gpu import install, places
from mobilemod.harness.gpu.places import GpuPlace, gpu_places
from mobilemod.manifest import Bundle
from mobilemod.results.gates import Gates, check, judged
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page
from mobilemod.results.schema import build_record, validate_record
from mobilemod.results.table import text_table
from mobilemod.stamp import STAMP
from tests.gpus import probe, unit_op
from tests.tiny_bundle import SIZE, draw_data, make_bundle, network

TARGET = get_target("tflite")
LOG = """\
INFO: [delegate_webgpu.cc:363] Created a WebGPU environment.
I0000 00:00:1.6 308 environment.cc:532] Selected adapter: Some GPU (X), arch=a, vendor=v, backend=V
ERROR: Following operations are not supported by GPU delegate:
ATAN2: No support of few identical inputs in the same operation.
RELU_0_TO_1: Not supported op RELU_0_TO_1
RELU_0_TO_1: another: reason
2 operations will run on the GPU, and the remaining 6 operations will run on the CPU.
I0000 00:00:1.7 1097 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
"""


@pytest.fixture
def one_process(tmp_path, monkeypatch):
    """`one_process(script)`: what stands in for the process that runs a file on a GPU."""

    def stand_in(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        monkeypatch.setattr(gpu, "gpu_places", lambda: [GpuPlace("a place")])

    return stand_in


def entry(**more: object) -> dict:
    """A file's entry in a record, one that passes."""
    return {
        "file": "a.tflite", "adapter": "Some GPU", "runner": "LiteRT 0, GPU", "whole": True,
        "outside": {}, "on_cpu": 0, "agreement_percent": 100.0, "max_difference": 0.002,
        "error": None, **more,
    }  # fmt: skip


def record_with(*entries: dict) -> dict:
    """A record of two equal models, and what a GPU made of files."""
    logits = np.eye(3, dtype=np.float32)[np.arange(40) % 3]
    models = [Predictions("torch float", logits, "reference"), Predictions("a", logits, "int8")]
    found = {"images": 20, "files": list(entries)}
    labels, names = list("abc"), ["x"] * 40
    return build_record(models, np.arange(40) % 3, labels, names, [], {}, {}, gpu=found)


# What LiteRT takes


def test_ops_outside_are_read_from_the_log():
    why = "Not supported op RELU_0_TO_1; another: reason"
    ops = {"ATAN2": "No support of few identical inputs in the same operation.", "RELU_0_TO_1": why}
    assert gpu.unsupported(LOG) == (ops, 6)
    all_out = LOG.replace("2 operations will", "No operations will").replace("the remaining", "all")
    assert gpu.unsupported(all_out) == (ops, 6)
    assert gpu.unsupported(LOG.replace("not supported", "supported")) == ({}, None)
    assert gpu.Ending(0, LOG).adapter == "Some GPU (X)"


@pytest.mark.parametrize("int8", [True, False])
def test_a_file_that_a_gpu_takes_whole(on_a_gpu, tmp_path, int8):
    path = tmp_path / "tiny.tflite"
    rng = np.random.default_rng(0)
    path.write_bytes(network(rng.normal(0, 0.1, (10, 192)).astype(np.float32), int8))
    x = rng.standard_normal((3, 3, SIZE, SIZE)).astype(np.float32)
    run = TARGET.run_on_gpu(path, x)
    assert run.whole and (run.outside, run.on_cpu, run.error) == ({}, 0, None)
    assert run.adapter and run.description.startswith("LiteRT ")
    assert run.outputs.shape == (3, 10)
    assert np.abs(run.outputs - TARGET.load(path).run_many(x)).max() < (0.11 if int8 else 0.01)


def test_an_op_that_a_gpu_does_not_take_is_named(on_a_gpu, tmp_path):
    path = tmp_path / "odd.tflite"
    path.write_bytes(unit_op(schema.BuiltinOperator.RELU_0_TO_1))
    x = np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 3, 4, 4)
    run = TARGET.run_on_gpu(path, x)
    assert not run.whole and list(run.outside) == ["RELU_0_TO_1"] and run.on_cpu == 2
    assert run.error is None
    expected = 2 * np.clip(2 * x, 0, 1)
    assert np.abs(run.outputs - expected).max() < 0.01


@pytest.mark.parametrize(
    "ending,why",
    [
        ("kill -SEGV $$", "crashes with SIGSEGV"),
        ("exec sleep 60", "says nothing for 0.3 s"),
        ("echo 'ERROR: [a.cc:1] no memory' >&2; exit 1", "no memory"),
    ],
)
def test_a_process_that_crashes_or_hangs_is_an_outcome(one_process, monkeypatch, ending, why):
    one_process(f"echo 'Selected adapter: Some GPU, arch=a' >&2; {ending}")
    monkeypatch.setattr(gpu, "SECONDS", 0.3)
    run = TARGET.run_on_gpu(Path("a.tflite"), np.zeros((2, 3, 4, 4), np.float32))
    assert (run.adapter, run.outputs, run.whole, run.error) == ("Some GPU", None, False, why)


def test_without_a_gpu_one_line_says_how_to_mend_it(one_process, monkeypatch):
    one_process("echo 'ERROR: [delegate_webgpu.cc:359] No adapters found' >&2; exit 3")
    x = np.zeros((1, 3, 4, 4), np.float32)
    with pytest.raises(UserError) as error:
        TARGET.run_on_gpu(Path("a.tflite"), x)
    said = "LiteRT finds no GPU (a place: No adapters found); run 'make gpu' for SwiftShader, "
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
    monkeypatch.setattr(gpu, "gpu_places", list)
    with pytest.raises(UserError, match="no GPU: no Vulkan driver and no SwiftShader here; run 'm"):
        TARGET.run_on_gpu(Path("a.tflite"), x)


# Where it looks


def test_the_systems_drivers_come_first_and_software_is_named(tmp_path, monkeypatch):
    for name in (*places.DRIVER_VARIABLES, places.FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    own, system, chromium = (tmp_path / name for name in ("own", "icd.d", "chromium"))
    monkeypatch.setattr(places, "DRIVER_FOLDERS", (system,))
    monkeypatch.setattr(places, "CHROMIUM", chromium)
    monkeypatch.setattr(places.sys, "platform", "linux")
    monkeypatch.setattr(places.ctypes.util, "find_library", lambda _: None)
    monkeypatch.chdir(tmp_path)
    assert gpu_places() == []
    for folder in (chromium, own):
        folder.mkdir()
        (folder / places.LOADER).touch()
        (folder / places.DRIVER).touch()
    assert gpu_places() == []  # without SwiftShader itself
    for folder in (chromium, own):
        (folder / places.SWIFTSHADER).touch()
    assert [p.loader for p in gpu_places()] == [chromium / places.LOADER]
    monkeypatch.setenv(places.FOLDER_VARIABLE, "own")
    (place,) = gpu_places()
    assert set(place.environment.values()) == {str(own / places.DRIVER)}
    system.mkdir()
    (system / "a_gpu.json").touch()
    first, second = gpu_places()
    # The system has drivers but no loader: it gets ours.
    assert (first.environment, first.loader) == ({}, own / places.LOADER) and second == place
    (system / "a_gpu.json").unlink()
    monkeypatch.setenv("VK_ICD_FILENAMES", "/some/icd.json")
    assert len(gpu_places()) == 2


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt")
def test_swiftshader_is_set_up_by_apt(tmp_path, monkeypatch, on_a_gpu):
    try:
        stamp = install.set_up(tmp_path)
    except UserError as error:
        pytest.skip(f"no package archive: {error}")
    assert places.is_whole(tmp_path) and stamp["package"].startswith("chromium-common_")
    kept = {*install.LICENSES.parts[-1:], STAMP, places.DRIVER}
    kept |= {places.LOADER, places.SWIFTSHADER}
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")} == kept
    monkeypatch.setattr(install, "_build", None)  # a second time nothing is fetched
    assert install.set_up(tmp_path) == stamp
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(gpu, "gpu_places", lambda: gpu_places()[-1:])
    run = TARGET.run_on_gpu(probe(), np.ones((1, 3, 4, 4), np.float32))
    assert run.whole and "SwiftShader" in run.adapter


# What is judged


@pytest.mark.parametrize(
    "changed,state,line",
    [
        ({}, "pass", "fully accelerated by Some GPU, agreement 100.00 % on 20 images, gate 99 %: "),
        ({"agreement_percent": 95.0}, "fail", "agreement 95.00 % on 20 images, gate 99 %: "),
        ({"whole": False, "outside": {"X": "why"}, "on_cpu": 7}, "fail",
         "not fully accelerated by Some GPU, outside: X (why); 7 ops on the processor, agree"),
        ({"whole": False, "on_cpu": None}, "fail", "outside: ops that its runtime does not name, "),
        ({"whole": False, "agreement_percent": None, "max_difference": None, "error": "crashes"},
         "fail", "a.tflite: fails on Some GPU: crashes: "),
    ],
)  # fmt: skip
def test_gates_of_a_gpu(changed, state, line):
    record = record_with(entry(**changed))
    validate_record(record)
    verdict = check(record, Gates(max_upper=50))[-1]
    assert (verdict.name, verdict.kind, verdict.state) == ("gpu: a.tflite", "gpu", state)
    assert line in verdict.line and verdict.line.endswith(f": {state}")
    assert "LiteRT 0, GPU: Some GPU" in text_table(record)
    html = page(Known.of_validation(judged(record, [verdict])))
    assert "On a GPU" in html and "LiteRT 0, GPU: Some GPU" in html


def test_records_of_before_are_read():
    record = record_with()
    del record["gpu"]
    validate_record(record)
    assert not [v for v in check(record, Gates()) if v.kind == "gpu"]
    assert "GPU" not in text_table(record)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    """A tiny bundle, and a folder of images for it."""
    root = tmp_path_factory.mktemp("gpu")
    return make_bundle(root / "bundle"), draw_data(root / "data", 3)


def test_wrong_answers_of_a_gpu_fail_the_gate(tiny, monkeypatch):
    bundle, data = tiny
    sign = 1.0

    def run_on_gpu(self: Target, path: Path, images: np.ndarray) -> GpuRun:
        outputs = self.load(path).run_many(images)
        return GpuRun("Some GPU", "LiteRT", sign * outputs, True, {}, 0)

    def predict(opened: Bundle, images: ImageFolder, able: list[Candidate]) -> Answers:
        pixels = read_batch(images, opened.preprocess)[1]
        x = opened.preprocess.normalize(np.stack(pixels))
        outputs = [TARGET.load(opened.file(c.file)).run_many(x) for c in able]
        found = [Predictions(c.name, y, c.role) for c, y in zip(able, outputs, strict=True)]
        return Answers({None: found}, [], [])

    monkeypatch.setattr(Target, "run_on_gpu", run_on_gpu)
    monkeypatch.setattr(measure, "predict", predict)  # without the seconds of worker processes
    found = measure.check_gpu(bundle, data)
    assert found["images"] == 20 and len(found["files"]) == 2
    for sign, state in ((1.0, "pass"), (-1.0, "fail")):  # noqa: B007
        found = measure.check_gpu(bundle, data, 10)
        assert found["images"] == 10
        verdicts = check(record_with(*found["files"]), Gates(max_upper=50))[-2:]
        assert [v.state for v in verdicts] == [state] * 2, [v.line for v in verdicts]


def test_validate_needs_a_gpu_and_images_for_it(tiny, here, monkeypatch):
    bundle, data = tiny
    monkeypatch.setattr(gpu, "gpu_places", list)
    for words, line in (
        (("--data", data), "no GPU: no Vulkan driver and no SwiftShader here; run 'make gpu'"),
        (("--audit-only",), "--gpu needs images: give --data DIR"),
        (("--data", data, "--device", "host"), "it doesn't go with --device"),
    ):
        done = here("validate", bundle, "--gpu", *words)
        assert done.returncode == 2 and done.stdout == "", done.stderr
        assert line in done.stderr and len(done.stderr.splitlines()) == 1
