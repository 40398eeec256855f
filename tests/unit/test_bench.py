"""`mobilemod bench` without a device: classes of instructions, latencies, gates, placements."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.verbs.main import main
from mobilemod.data.testcard import draw_card
from mobilemod.errors import UserError
from mobilemod.harness.arm64 import pins
from mobilemod.harness.arm64.debian import Debian
from mobilemod.harness.arm64.emulator import (
    CLASSES,
    HERE,
    load_emulator,
    parse_counts,
    recipe_digest,
)
from mobilemod.harness.arm64.install import compile_library
from mobilemod.harness.arm64.process import run_tool
from mobilemod.harness.bench import instructions
from mobilemod.harness.bench.bench import KINDS, MEASURERS
from mobilemod.harness.bench.files import find_files
from mobilemod.harness.bench.job import CARD_FILE, MOST_OUTPUTS, WARM_UPS, build
from mobilemod.harness.bench.measured import measure, table
from mobilemod.harness.drivers import DeviceLost, get_driver
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job import JobFile
from mobilemod.harness.protocol.job_folder import load_job
from mobilemod.harness.protocol.lines import Writer
from mobilemod.harness.record.statistics import Latency, compare, median_interval
from mobilemod.harness.run.job_build import in_pairs
from mobilemod.harness.run.session import Session
from mobilemod.harness.worker.inputs import Feed
from mobilemod.results.schema import json_ready
from tests import tiny_bundle
from tests.harness.devices import Changed, resigned
from tests.manifests import manifest_values, model_entry
from tests.tiny_bundle import make_bundle

ROOT = Path(__file__).parents[2]
WORDS = ROOT / "tests" / "data" / "a64_words.tsv"


# Instruction classes


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """The plugin's decoder, compiled from its own source."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    path = tmp_path_factory.mktemp("decoder") / "classify.so"
    compile_library(path, ("classify.c",))
    return ctypes.CDLL(str(path))


def words() -> list[tuple[int, str, str]]:
    lines = WORDS.read_text("utf-8").splitlines()[1:]
    return [(int(w, 16), kind, text) for w, kind, text in (line.split("\t") for line in lines)]


def test_classes_have_the_order_of_the_counts(decoder):
    names = (ctypes.c_char_p * len(CLASSES)).in_dll(decoder, "a64_class_names")
    assert tuple(n.decode() for n in names) == CLASSES


def test_assembled_words_have_their_class(decoder):
    found = [(text, CLASSES[decoder.a64_classify(word)]) for word, _, text in words()]
    assert found == [(text, kind) for _, kind, text in words()]
    assert {kind for _, kind, _ in words()} == set(CLASSES)


def test_registers_do_not_change_the_class(decoder):
    for word, kind, text in words():
        for other in (0x000, 0x3FF, 0x155, 0x2AA):
            changed = word & ~0x3FF | other
            assert CLASSES[decoder.a64_classify(changed)] == kind, f"{text}, {changed:08x}"


def test_counts_are_read():
    assert parse_counts("1 2 3 4 5 6 7 1\n0 0 0 0 0 0 9 1\n") == [
        dict(zip(CLASSES, range(1, 8), strict=True)),
        dict.fromkeys(CLASSES, 0) | {"other": 9},
    ]


def test_counts_of_a_second_thread_are_refused():
    with pytest.raises(RuntimeError, match="2 threads"):
        parse_counts("1 2 3 4 5 6 7 1\n1 2 3 4 5 6 7 2\n")


# The root


def test_guest_runs_the_versions_of_the_lock_file():
    locked = set((ROOT / "requirements.lock").read_text().lower().split())
    assert {w.lower() for w in pins.WHEELS} <= locked


def test_cpuinfo_is_of_the_emulated_processor():
    parts = {"cortex-a53": "0xd03", "cortex-a76": "0xd0b", "cortex-a710": "0xd47"}  # Arm's numbers
    has = {
        "cortex-a53": set(),
        "cortex-a76": {"asimddp"},
        "cortex-a710": {"asimddp", "i8mm", "bf16"},
    }
    assert set(pins.PROCESSORS) == set(parts)
    for name, processor in pins.PROCESSORS.items():
        text = processor.cpuinfo
        lines = dict(map(str.strip, line.split(":")) for line in text.splitlines() if ":" in line)
        assert (lines["CPU implementer"], lines["CPU part"]) == ("0x41", parts[name])
        features = set(lines["Features"].split())
        assert features & {"asimddp", "i8mm", "sve", "bf16"} == has[name]


def test_no_root_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="run 'make arm64'"):
        load_emulator(tmp_path)
    # As a run leaves it that broke off: everything but the stamp.
    for name in ("host", "root", "downloads"):
        (tmp_path / name).mkdir()
    for text in ("", "{", "[]", "{}"):
        (tmp_path / "stamp.json").write_text(text)
        with pytest.raises(UserError, match="no emulated ARM64 root in .*; run 'make arm64'"):
            load_emulator(tmp_path)


def test_root_of_other_versions_is_not_taken(tmp_path):
    stamp = tmp_path / "stamp.json"
    stamp.write_text(json.dumps({"recipe": recipe_digest()}))
    found = load_emulator(tmp_path, "cortex-a53")
    assert (found.folder, found.processor.part) == (tmp_path, 0xD03)
    with pytest.raises(UserError, match="unknown emulated processor 'cortex-a35'; known: cortex-a"):
        load_emulator(tmp_path, "cortex-a35")
    stamp.write_text(json.dumps({"recipe": "0" * 64}))
    with pytest.raises(UserError, match="outdated; run 'make arm64'"):
        load_emulator(tmp_path)


def test_a_tool_that_fails_or_is_missing_is_said_in_one_line():
    for said, line in (
        ("first; echo E: cause; echo E: hint", "E: cause"),
        ("first; echo", "first"),
    ):
        with pytest.raises(UserError, match=f"^sh failed: {line}$"):
            run_tool(["sh", "-c", f"(echo {said}) >&2; exit 3"])
    with pytest.raises(UserError, match="'no-such-tool-here' is missing"):
        run_tool(["no-such-tool-here"])


@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt")
def test_archive_out_of_reach_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("mobilemod.harness.arm64.debian.KEYRING", WORDS)
    archive = Debian(tmp_path, f"file:{tmp_path}/nothing", "bookworm", ("arm64",))
    with pytest.raises(UserError, match="^apt-get failed: ") as error:
        archive.update()
    assert "\n" not in str(error.value)


def test_plugin_sources_are_there():
    assert {p.name for p in HERE.glob("*.[ch]")} == {"icount.c", "classify.c", "classify.h"}


# Latency


def test_latency_of_known_runs():
    values = [float(v) for v in range(100, 0, -1)]
    assert Latency.of(values) == Latency(100, 50.5, 90.0, 1.0)
    assert Latency.of([3.0]) == Latency(1, 3.0, 3.0, 3.0)


def test_median_interval_holds_the_median_often_enough():
    rng = np.random.default_rng(0)
    for n in (8, 25, 50):
        hits = 0
        for _ in range(2000):
            low, high = median_interval(rng.exponential(size=n).tolist())
            hits += low <= np.log(2) <= high
        assert 0.945 <= hits / 2000 <= 0.997, n


def test_median_interval_of_few_values():
    assert median_interval([4.0]) == (4.0, 4.0)
    assert median_interval([4.0, 1.0, 2.0]) == (1.0, 4.0)
    # 6 values: below all and above all, 2 / 2**6 = 3.1 %.
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)
    # 9 values: 2 * (1 + 9) / 2**9 = 3.9 %, the second from each end.
    assert median_interval([float(v) for v in range(9)]) == (1.0, 7.0)


def test_int8_is_compared_round_by_round():
    # Load that doubles both halves of the rounds leaves the ratio alone.
    load = np.tile([1.0, 2.0], 10)
    found = compare((2 * load).tolist(), (5 * load).tolist())
    assert (found["ratio"], found["low"], found["high"]) == (2.5, 2.5, 2.5)
    assert (found["faster_rounds"], found["rounds"]) == (20, 20)
    assert compare([2.0], [1.0])["faster_rounds"] == 0


# Instruction counts: baseline and gate


def counted(total: int, file: str = "a.tflite", runtime: str = "LiteRT 1") -> dict:
    classes = dict.fromkeys(CLASSES, 0) | {"other": total}
    entry = {"file": file, "runtime": runtime, "instructions": {"total": total, "classes": classes}}
    return {"environment": {"processor": "cortex-a76"}, "files": [entry]}


@pytest.fixture
def baseline(tmp_path) -> dict:
    instructions.write_baseline(counted(1000), tmp_path / "counts.json")
    return instructions.read_baseline(tmp_path / "counts.json")


def test_a_rise_over_the_gate_fails(baseline):
    for total, passed in ((900, True), (1000, True), (1030, True), (1031, False)):
        (verdict,) = instructions.compare_with_baseline(counted(total), baseline)
        assert verdict.passed is passed and f"{total:,}" in verdict.line
    (verdict,) = instructions.compare_with_baseline(counted(1031), baseline, max_rise=5)
    assert verdict.passed


def test_counts_of_another_runtime_are_not_compared(baseline):
    (verdict,) = instructions.compare_with_baseline(counted(1000, runtime="LiteRT 2"), baseline)
    assert not verdict.passed and "record it again" in verdict.line


def test_nothing_compared_is_no_pass(baseline):
    (verdict,) = instructions.compare_with_baseline(counted(1, file="b.tflite"), baseline)
    assert not verdict.passed


def test_a_file_that_is_no_baseline(tmp_path):
    path = tmp_path / "counts.json"
    with pytest.raises(UserError, match="no such file"):
        instructions.read_baseline(path)
    for text in ("{", "[]", "{}", '{"schema": "mobilemod/bench/1"}'):
        path.write_text(text)
        with pytest.raises(UserError, match="holds no mobilemod/instructions/1"):
            instructions.read_baseline(path)


# What is measured


def bundle_at(folder: Path) -> Path:
    """A bundle's manifest with one file of 100 bytes, image size 64."""
    from mobilemod.data.preprocess import Preprocess
    from mobilemod.manifest import seal_bundle

    folder.mkdir()
    file = folder / "net_int8.tflite"
    file.write_bytes(bytes(100))
    files = [model_entry(file, "tflite", "int8")]
    preprocess = Preprocess(size=64).to_dict()
    labels = [{"id": "a", "label": "a"}]
    seal_bundle(folder, manifest_values("net", labels, preprocess, files=files))
    return folder


def test_a_file_in_a_bundle_is_described_by_its_manifest(tmp_path):
    folder = bundle_at(tmp_path / "bundle")
    path = folder / "net_int8.tflite"
    for given in (folder, path):
        found = find_files(given)
        (file,) = found.files
        assert (file.path, file.target, file.precision) == (path, "tflite", "int8")
        assert (found.preprocess.size, found.model) == (64, "net")
    path.write_bytes(bytes(99))  # no longer the manifest's
    found = find_files(path)
    (file,) = found.files
    assert (file.precision, found.preprocess.size, found.model) == (None, 224, None)
    with pytest.raises(UserError, match="sha256 differs, 99 bytes for 100"):
        find_files(folder)


@pytest.mark.parametrize("name", ["no.tflite", "labels.txt", "folder"])
def test_what_is_no_model_is_said(tmp_path, name):
    (tmp_path / "labels.txt").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=name):
        find_files(tmp_path / name)


def test_every_device_has_its_parts():
    parts = {"check", "suffixes", "environment"}
    for kind in KINDS:
        own = {"measure"} if kind in MEASURERS else {"run", "extra", "delegates"}
        tool = MEASURERS[kind]() if kind in MEASURERS else get_driver(kind)
        assert all(callable(getattr(tool, part)) for part in parts | own), kind


def fails(capsys, *arguments: object) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("mobilemod: error: ")
    return err


def test_bad_requests(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_ARM64", str(tmp_path / "none"))
    folder = bundle_at(tmp_path / "bundle")
    assert f"known: {', '.join(KINDS)}" in fails(capsys, "bench", folder, "--device", "toaster")
    assert "there is one host" in fails(capsys, "bench", folder, "--udid", "x")
    assert "make arm64" in fails(capsys, "bench", folder, "--device", "arm64-emulated")
    emulated = ("bench", folder, "--device", "arm64-emulated")
    assert "from 1 to 256 threads" in fails(capsys, "bench", folder, "--threads", 0)
    assert "arm64-emulated" in fails(capsys, "bench", folder, "--record", tmp_path / "x.json")
    assert "no such file" in fails(capsys, *emulated, "--against", tmp_path / "x.json")
    (folder / "net_int8.tflite").rename(tmp_path / "a.mlpackage")
    assert "here is none" in fails(capsys, "bench", tmp_path / "a.mlpackage")
    assert not (folder / "bench").exists()


def test_the_emulated_processor_counts_one_thread(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_ARM64", str(tmp_path))
    (tmp_path / "stamp.json").write_text(json.dumps({"recipe": recipe_digest()}))
    folder = bundle_at(tmp_path / "bundle")
    line = fails(capsys, "bench", folder, "--device", "arm64-emulated", "--threads", 2)
    assert "at most 1 threads" in line


@pytest.mark.skipif(sys.platform == "darwin", reason="there it would run")
def test_a_mac_needs_macos(capsys, tmp_path):
    assert "needs macOS" in fails(capsys, "bench", bundle_at(tmp_path / "b"), "--device", "mac")


# A job of any driver


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def loaded(path: Path):
    from export.targets.target import target_of_file

    return target_of_file(path).load(path)


def benched(driver, path: Path, runs: int = 5) -> dict:
    """What `bench` records of a driver's device."""
    return measure(driver, find_files(path), loaded, 1, runs, print)


def test_files_become_a_job_that_times_the_card_for_exactly_its_runs(tiny, tmp_path):
    found = find_files(tiny)
    build(found, np.zeros(10, np.float32), 2, 7, HostDriver(), tmp_path / "job")
    folder = load_job(tmp_path / "job")  # every hash holds
    job, timing = folder.job, folder.job.latency
    assert np.array_equal(np.asarray(Image.open(folder.path(CARD_FILE))), draw_card(32))
    assert np.array_equal(Feed(folder).timed(), found.preprocess.normalize(found.card[None]))
    assert [(c.file, c.threads, c.delegate) for c in job.configurations] == [
        ("tiny_int8.tflite", 2, "xnnpack"),
        ("tiny_float32.tflite", 2, "xnnpack"),
    ]
    assert job.timed_groups() == [(0, 1)] and not job.accuracy
    assert (timing.warm_up_seconds, timing.warm_up_max) == (0, WARM_UPS)
    assert (timing.min_seconds, timing.min_runs) == (0, 7)
    manifest = json.loads(folder.path("manifest.json").read_text("utf-8"))
    assert len(manifest["labels"]) == manifest["num_classes"] == 10


def test_more_outputs_than_a_line_has_room_for_are_not_golden(tiny, tmp_path):
    folder = build(
        find_files(tiny), np.zeros(MOST_OUTPUTS + 1), 1, 5, HostDriver(), tmp_path / "job"
    )
    assert folder.job.golden == ()
    line = {"configuration": 0, "image": 0, "source": "pixels"}
    most = [-0.000012345678806304932] * MOST_OUTPUTS
    Writer(folder.job.id, lambda data: None).line("golden", **line, logits=most)


def test_a_float_twin_is_of_the_same_target():
    def file(name: str, target: str, precision: str) -> JobFile:
        return JobFile(name, f"models/{name}", "0" * 64, 1, target, precision)

    files = (
        file("a", "tflite", "int8"),
        file("b", "tflite", "float32"),
        file("c", "tflite", "float16"),
        file("d", "executorch", "int8"),
    )
    assert [f.twin for f in in_pairs(files)] == ["b", None, None, None]


def test_a_bundle_on_this_machine(tiny, capsys):
    assert main(["bench", str(tiny), "--runs", "5", "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert json.loads((tiny / "bench" / "host.json").read_text("utf-8")) == record
    assert record["input"] == "drawn test card, 32 x 32" and record["left_out"] == []
    assert {"processor", "cores", "system", "load_before"} <= set(record["environment"])
    for file in record["files"]:
        times = file["latency"]
        assert times["runs"] == 5 and file["runtime"].endswith("XNNPACK, 1 thread")
        assert 0 < times["min_ms"] <= times["median_ms"] <= times["p90_ms"]
        assert file["load"]["runs"] == 3 and file["logits"]["identical"]
    (pair,) = record["comparisons"]
    assert pair["rounds"] == 5 and pair["low"] <= pair["ratio"] <= pair["high"]


def test_a_file_of_any_name_that_lies_in_no_bundle(tmp_path, capsys, monkeypatch):
    # The usual size; the grid stays.
    monkeypatch.setattr(tiny_bundle, "SIZE", 224)
    monkeypatch.setattr(tiny_bundle, "CELL", 28)
    path = tmp_path / "it's $(a) 貓.tflite"
    path.write_bytes(tiny_bundle.network(np.ones((10, 192), np.float32), False))
    assert main(["bench", str(path), "--runs", "5"]) == 0
    heading, _, row = capsys.readouterr().out.splitlines()
    assert row.startswith(path.name) and "identical" in row
    words = ("median ms", "p90 ms", "min ms", "runs", "load ms", "largest difference", "run by")
    assert all(word in heading for word in words) and "million" not in heading
    assert list(tmp_path.iterdir()) == [path]


def test_a_cut_file_is_said_in_one_line(tiny, tmp_path, capsys):
    path = tmp_path / "cut.tflite"
    path.write_bytes((tiny / "tiny_int8.tflite").read_bytes()[:1000])
    assert "cut.tflite: damaged or cut off" in fails(capsys, "bench", path)


def test_what_only_the_driver_knows_is_recorded(tiny):
    class Toy(HostDriver):
        latency = False

        def environment(self):
            return {"processor": "toy"}

        def extra(self, folder):
            return {f.name: {"ops_by_device": {"CPU": 3, "GPU": 1}} for f in folder.job.files}

    record = benched(Toy(), tiny)
    assert record["environment"]["processor"] == "toy" and record["comparisons"] == []
    for file in record["files"]:
        assert "latency" not in file and "load" not in file
        assert file["ops_by_device"] == {"CPU": 3, "GPU": 1}
    heading, *rows = table(record["files"])
    assert heading[-2:] == ["ops by device", "run by"] and rows[0][-2] == "CPU 3, GPU 1"
    assert "median ms" not in heading


def golden(change):
    """A device whose outputs of golden images are changed: `change(outputs)`."""

    def line(raw: bytes, number: int, start: int) -> bytes:
        values = json.loads(raw)
        outputs = values.get("logits")
        return raw if outputs is None else resigned(raw, logits=change(outputs))

    return Changed(line)


def test_a_devices_outputs_are_held_against_this_machines(tiny):
    record = benched(golden(lambda outputs: [outputs[0] + 1, *outputs[1:]]), tiny)
    for file in record["files"]:
        logits = file["logits"]
        assert not logits["identical"] and logits["differing"] == 1 and logits["count"] == 10
        assert logits["max_difference"] == pytest.approx(1, abs=1e-5)
    record = json_ready(benched(golden(lambda outputs: [None, *outputs[1:]]), tiny))
    assert all("not finite" in row for row in table(record["files"])[1:])
    with pytest.raises(UserError, match="9 outputs there, 10 of LiteRT"):
        benched(golden(lambda outputs: outputs[1:]), tiny)


def test_what_a_device_says_failed_is_the_error(tiny, monkeypatch):
    class Failing(HostDriver):
        def run(self, folder, resume, receive):
            place = {"configuration": 0, "image": None}
            writer = Writer(folder.job.id, receive)
            writer.line("error", where="load", message="net: no such op", **place, fatal=False)
            place["configuration"] = 1
            writer.line("error", where="load", message="another", **place, fatal=False)

    class Lost(HostDriver):
        def run(self, folder, resume, receive):
            raise DeviceLost("the worker process was killed by signal 11")

    class Silent(Changed):
        def __init__(self):
            super().__init__(lambda raw, *_: b"" if b'"type":"times"' in raw else raw)

    monkeypatch.setattr(Session, "_wait", lambda self, seconds: None)
    for driver, line in (
        (Failing(), "^net: no such op$"),
        (Lost(), "signal 11.*missing: tiny_int8"),
        (Silent(), "tiny_int8.tflite: the device sent no times"),
    ):
        with pytest.raises(UserError, match=line):
            benched(driver, tiny)


def test_an_error_that_a_later_start_mended_is_none(tiny, monkeypatch):
    class Mended(HostDriver):
        starts = 0

        def run(self, folder, resume, receive):
            self.starts += 1
            if self.starts > 1:
                return super().run(folder, resume, receive)
            place = {"configuration": 0, "image": None}
            writer = Writer(folder.job.id, receive)
            writer.line("error", where="load", message="no memory", **place, fatal=False)
            raise DeviceLost("cable out")

    monkeypatch.setattr(Session, "_wait", lambda self, seconds: None)
    driver = Mended()
    assert [f["latency"]["runs"] for f in benched(driver, tiny)["files"]] == [5, 5]
    assert driver.starts == 2


def test_a_phones_options_are_its_drivers(monkeypatch, capsys):
    asked = []

    def fake(path, device, *rest):
        asked.append((device, os.environ.get("MOBILEMOD_APPLE_TEAM")))
        raise UserError("enough")

    monkeypatch.setattr("mobilemod.harness.bench.bench.bench", fake)
    monkeypatch.setenv("MOBILEMOD_APPLE_TEAM", "")
    fails(capsys, "bench", "x", "--device", "iphone")
    fails(capsys, "bench", "x", "--device", "iphone", "--udid", "A-1", "--team", "T")
    assert asked == [("iphone", ""), ("iphone:A-1", "T")]


# Core ML, as far as it goes without a Mac


@pytest.fixture(scope="module")
def classifier():
    """A small classifier of images as an ML program, of two convolutions and a product."""
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(0)

    @mb.program(
        input_specs=[mb.TensorSpec((1, 3, 8, 8), types.fp32)], opset_version=ct.target.iOS17
    )
    def program(image):
        x = mb.conv(x=image, weight=rng.normal(size=(4, 3, 1, 1)).astype(np.float32), name="first")
        x = mb.conv(x=x, weight=rng.normal(size=(4, 4, 1, 1)).astype(np.float32), name="second")
        x = mb.reduce_mean(x=x, axes=[2, 3], name="mean")
        x = mb.matmul(x=x, y=rng.normal(size=(4, 5)).astype(np.float32), name="logits")
        return mb.softmax(x=x, axis=-1, name="probabilities"), x

    return ct.convert(
        program,
        inputs=[ct.ImageType("image", shape=(1, 3, 8, 8))],
        classifier_config=ct.ClassifierConfig(list("abcde")),
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )


@pytest.fixture(scope="module")
def plan(classifier):
    """`plan({"first": "CPU", …})`: what coremltools' benchmarker returns of such a compute plan.

    Its own dataclasses; the proxies that only macOS has stay out of its device objects. Every op
    that has a device takes 1 ms.
    """
    from coremltools.models import compute_device
    from coremltools.models.compute_plan import MLComputePlanDeviceUsage
    from coremltools.models.ml_program.experimental.model_structure_path import (
        map_model_spec_to_path,
    )
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    kinds = {
        "CPU": compute_device.MLCPUComputeDevice,
        "GPU": compute_device.MLGPUComputeDevice,
        "Neural Engine": compute_device.MLNeuralEngineComputeDevice,
    }

    def make(devices: dict[str, str]) -> list:
        infos = []
        for op, path in map_model_spec_to_path(classifier.get_spec()):
            name = op.outputs[0].name
            usage = None
            if name in devices:
                kind = kinds[devices[name]]
                usage = MLComputePlanDeviceUsage(kind.__new__(kind), [])
            measured = MLModelBenchmarker.Measurement.from_samples([1.0] if usage else [])
            infos.append(MLModelBenchmarker.OperationExecutionInfo(op, path, usage, measured))
        return infos

    return make


def heavy_names(classifier) -> dict[str, str]:
    (function,) = classifier.get_spec().mlProgram.functions.values()
    operations = function.block_specializations[function.opset].operations
    return {op.outputs[0].name: op.type for op in operations if op.type in ("conv", "matmul")}


def test_every_op_off_the_cpu_passes(classifier, plan):
    from mobilemod.harness.coreml.placement import by_device, fallback_verdict, placements

    names = heavy_names(classifier)
    assert sorted(names.values()) == ["conv", "conv", "matmul"]
    devices = dict(zip(names, ["Neural Engine", "Neural Engine", "GPU"], strict=True))
    found = placements(plan({**devices, "mean": "CPU"}))
    assert by_device(found) == {"Neural Engine": 2, "GPU": 1, "CPU": 1}
    assert [p.share for p in found] == [0.25] * 4
    verdict = fallback_verdict("net.mlpackage", found)
    assert verdict.passed and "all 3" in verdict.line


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("device", ["CPU", None])
def test_a_heavy_op_on_the_cpu_or_nowhere_fails(classifier, plan, index, device):
    from mobilemod.harness.coreml.placement import fallback_verdict, placements

    names = heavy_names(classifier)
    devices = dict.fromkeys(names, "Neural Engine")
    victim = list(names)[index]
    if device is None:
        del devices[victim]
    else:
        devices[victim] = device
    verdict = fallback_verdict("net.mlpackage", placements(plan(devices)))
    assert not verdict.passed and verdict.value == 1
    assert f"{victim} ({names[victim]}, {device or 'unknown'})" in verdict.line


def test_a_plan_without_heavy_ops_is_no_pass(plan):
    from mobilemod.harness.coreml.placement import fallback_verdict, placements

    light = [info for info in plan({"mean": "GPU"}) if info.spec.type == "reduce_mean"]
    assert not fallback_verdict("net.mlpackage", placements(light)).passed
    assert not fallback_verdict("net.mlpackage", []).passed


def test_edges_become_arrays_and_the_program_stays(classifier, tmp_path):
    import coremltools as ct

    from mobilemod.harness.coreml.edges import tensor_edges

    before = classifier.get_spec()
    after = tensor_edges(before)
    assert before == classifier.get_spec()
    (image,) = after.description.input
    assert list(image.type.multiArrayType.shape) == [1, 3, 8, 8]
    kinds = {f.name: f.type.WhichOneof("Type") for f in after.description.output}
    assert set(kinds.values()) == {"multiArrayType"} and not after.description.predictedFeatureName

    def operations(spec):
        (function,) = spec.mlProgram.functions.values()
        return function.block_specializations[function.opset]

    was, now = operations(before), operations(after)
    assert list(now.operations) == [op for op in was.operations if op.type != "classify"]
    assert [op.type for op in was.operations].count("classify") == 1
    assert list(now.outputs) == list(kinds) and set(kinds) < set(was.outputs)
    # coremltools takes it, as the benchmarker would give it.
    model = ct.models.MLModel(after, weights_dir=classifier.weights_dir, skip_model_load=True)
    model.save(str(tmp_path / "arrays.mlpackage"))
    again = ct.models.MLModel(str(tmp_path / "arrays.mlpackage"), skip_model_load=True)
    assert again.get_spec() == after


def phone(udid: str, **other: object):
    from coremltools.models.ml_program.experimental.remote_device import (
        Device,
        DeviceState,
        DeviceType,
    )

    values = dict(
        name="phone", type=DeviceType.IPHONE, identifier=udid, udid=udid, os_version="18.0",
        os_build_number="22A", developer_mode_state="enabled", state=DeviceState.CONNECTED,
        session=None,
    )  # fmt: skip
    return Device(**{**values, **other})


def test_the_connected_phone_is_chosen():
    from coremltools.models.ml_program.experimental.remote_device import DeviceState

    from mobilemod.harness.coreml.phone import choose_device

    away = phone("away", state=DeviceState.DISCONNECTED)
    for devices in itertools.permutations([away, phone("here"), phone("other")]):
        assert choose_device(devices, "here").udid == "here"
    for devices in ([], [away], [phone("here")]):
        with pytest.raises(UserError, match="no connected iPhone away"):
            choose_device(devices, "away")
