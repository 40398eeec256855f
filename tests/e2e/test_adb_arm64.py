"""`mobilemod validate --device adb` as a user runs it, on the emulated device.

Needs the root that `make arm64` sets up, and images.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mobilemod.data.imagefolder import load_pixels, read_split
from mobilemod.errors import UserError
from mobilemod.harness.arm64.emulator import load_emulator
from mobilemod.harness.protocol.lines import Reader
from mobilemod.harness.record.likeness import INT8_STEPS
from mobilemod.harness.worker.runtimes import load_tflite
from mobilemod.manifest import load_bundle
from tests.adbd.device import emulated, plug
from tests.commands import COMMAND, ROOT
from tests.interrupts import interruptible
from tests.tiny_bundle import make_bundle

pytestmark = pytest.mark.slow
LIMIT = 4


def newest_record(bundle: Path, device: str) -> tuple[dict, Path]:
    path = max((bundle / "devices" / device).glob("*/record.json"))
    return json.loads(path.read_text("utf-8")), path.parent


@pytest.fixture(scope="module")
def folder(export, tmp_path_factory) -> Path:
    """A bundle of `.tflite` files."""
    out = tmp_path_factory.mktemp("adb") / "efficientmod_xxs"
    export(out, "--targets", "tflite")
    return out


@pytest.mark.long
def test_arm64_predicts_what_this_machine_does(adb, run, data_dir, folder, tmp_path):
    try:
        load_emulator()
    except UserError as error:
        pytest.skip(str(error))
    with emulated(tmp_path / "phone") as phone:
        plug(phone)
        options = ("--data", data_dir, "--device", "adb", "--limit", LIMIT)
        done = run("validate", folder, *options, **adb)
        assert phone.setting("global", "stay_on_while_plugged_in") == "0"
    assert done.returncode in (0, 1, 4), done.stderr
    record, out = newest_record(folder, "adb")
    assert record["complete"] and record["device"]["runtimes"]["LiteRT"] == "2.3.0"
    assert "part 0xd0b" in record["device"]["facts"]["processor"]  # a Cortex-A76
    counts = record["counts"]
    assert (counts["sent"], counts["answered"], counts["missing"]) == (LIMIT, 2 * LIMIT, 0)
    assert not any(counts[k] for k in ("repeated_lines", "damaged_lines", "timed"))
    assert [f["self_test"]["verdict"] for f in record["files"]] == ["right", "right"]
    assert [f["accuracy"]["host"]["top1_percent"] for f in record["files"]] == [100.0, 100.0]
    bundle = load_bundle(folder)
    images = read_split(data_dir, "val", bundle.label_ids, 10).spread(LIMIT)
    job = json.loads((out / "job.json").read_text("utf-8"))
    lines = Reader(job["id"]).feed((out / "lines.jsonl").read_bytes())
    for index, configuration in enumerate(job["configurations"]):
        if configuration["self_test_only"]:
            continue
        limit = 1e-4
        if "int8" in configuration["file"]:
            limit = INT8_STEPS * output_step(folder / configuration["file"]) + 1e-4
        loaded = load_tflite(folder / configuration["file"])
        answers = [x for x in lines if x.type == "image" and x["configuration"] == index]
        assert len(answers) == LIMIT
        for line in answers:
            pixels = load_pixels(images.samples[line["image"]].path, bundle.preprocess)
            x = loaded.prepare(bundle.preprocess.normalize(pixels[None]))
            here = loaded.infer(x)
            assert np.abs(here - np.array(line["logits"])).max() <= limit
            assert int(here.argmax()) == line["top"][0][0]


def output_step(path: Path) -> float:
    """The scale of the int8 logits, from the file's last DEQUANTIZE."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without a delegate the ops are the file's own.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    (target,) = interpreter.get_output_details()
    (op,) = (o for o in interpreter._get_ops_details() if target["index"] in o["outputs"])
    (source,) = (t for t in interpreter.get_tensor_details() if t["index"] == op["inputs"][0])
    return float(source["quantization"][0])


def test_ctrl_c_restores_the_phone_and_the_next_run_goes_on(
    adb, environment, run, data_dir, folder, tmp_path
):
    bundle = Path(shutil.copytree(folder, tmp_path / "bundle"))
    shutil.rmtree(bundle / "devices", ignore_errors=True)
    options = ("--data", data_dir, "--device", "adb", "--limit", 40, "--quick", "--sustained", 6)
    with emulated(tmp_path / "phone", "--no-python", "--app") as phone:
        plug(phone)
        process = interruptible(
            [*COMMAND, "validate", str(bundle), *map(str, options)],
            cwd=ROOT,
            env={**environment, **adb},
            stderr=subprocess.PIPE,
            text=True,
        )
        ends = time.monotonic() + 120
        while not any(p.stat().st_size for p in bundle.glob("devices/adb/*/lines.jsonl")):
            assert process.poll() is None and time.monotonic() < ends, process.communicate()[1]
            time.sleep(0.01)
        assert phone.setting("system", "screen_off_timeout") == "1800000"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert process.returncode != 0 and "Traceback" not in said
        assert phone.setting("system", "screen_off_timeout") == "60000"
        assert phone.setting("global", "stay_on_while_plugged_in") == "0"
        assert phone.calls()[-1] == "input keyevent KEYCODE_SLEEP"
        done = run("validate", bundle, *options, **adb)
    assert "goes on with" in done.stderr and "internal error" not in done.stderr, done.stderr
    record, _ = newest_record(bundle, "adb")
    counts = record["counts"]
    assert record["complete"] and (counts["answered"], counts["missing"]) == (80, 0)
    assert counts["timed"] >= 128 and counts["runs"] == 2
    assert record["files"][0]["phone"]["before"]["governors"] == {"0": "schedutil"}


def test_no_device_is_one_line(adb, run, tmp_path):
    bundle = make_bundle(tmp_path / "tiny")
    done = run("validate", bundle, "--device", "adb:nobody", "--audit-only", **adb)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("mobilemod: error: adb sees no device")
