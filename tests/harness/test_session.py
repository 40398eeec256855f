"""Jobs run by the real worker, and everything that can happen on the way; counts prove that
nothing that was measured is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job_folder import load_job
from mobilemod.harness.protocol.lines import decode
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.run.session import (
    LINES_FILE,
    Result,
    Session,
    Stopped,
    read_lines,
    run_sessions,
)
from mobilemod.harness.run.validate import DeviceConfig, validate_devices
from mobilemod.harness.worker import FILES, MODULE, copy_to
from mobilemod.manifest import load_bundle
from mobilemod.results.device.table import text_table
from tests.harness.conftest import IMAGES, PLAN, Host
from tests.harness.devices import Changed, cable_out, hostile_lines, noisy, resigned, signed
from tests.harness.test_protocol import GOOD
from tests.interrupts import interruptible

pytestmark = pytest.mark.alone

NO_PAUSES = (0.0, 0.0, 0.0)


def session(driver, built, out, **more) -> Session:
    return Session(driver, built.folder, out, pauses=NO_PAUSES, **more)


def config(tiny, images, *devices: str) -> DeviceConfig:
    return DeviceConfig(tiny, devices or ("host",), images, plan=PLAN, pauses=NO_PAUSES)


def nothing_lost(record, runs: int | None = None) -> None:
    """Every image is answered by every file, and every configuration timed in full."""
    counts = record["counts"]
    assert record["complete"] and record["reason"] is None
    assert (counts["sent"], counts["expected"], counts["answered"]) == (
        IMAGES,
        2 * IMAGES,
        2 * IMAGES,
    )
    assert counts["missing"] == counts["unreadable"] == counts["answered_differently"] == 0
    for file in record["files"]:
        c, *units = file["configurations"]
        assert {u["self_test"]["verdict"] for u in units} == {"right"}
        assert c["latency"]["runs"] >= 70
        host = file["accuracy"]["host"]
        assert (host["identical"], host["images"], host["top1_percent"]) == (IMAGES, IMAGES, 100.0)
        assert file["self_test"]["verdict"] == "right"
    if runs is not None:
        assert counts["runs"] == runs


@pytest.fixture(scope="module")
def stream(tiny_source, images, tmp_path_factory) -> tuple[Path, Path]:
    """A job and the lines of an undisturbed run of it."""
    folder = tmp_path_factory.mktemp("stream")
    built = build_job(load_bundle(tiny_source), images, HostDriver(), PLAN, folder / "job")
    result = session(HostDriver(), built, folder / "run").run()
    assert result == Result(True, None, 1, ())
    return folder / "job", folder / "run" / LINES_FILE


# -- as it should be


def test_a_bundle_on_this_machine(tiny, images):
    (record,), report = validate_devices(config(tiny, images), Host)
    nothing_lost(record, runs=1)
    assert record["counts"]["damaged_lines"] == record["counts"]["repeated_lines"] == 0
    assert record["counts"]["timed_missing"] == 0
    (ratio,) = record["comparisons"]
    assert (ratio["int8"], ratio["rounds"]) == ("tiny_int8.tflite", 70)
    by_name = {f["file"]: f for f in record["files"]}
    assert by_name["tiny_float32.tflite"]["accuracy"]["drop"]["points"] == 0.0
    loads = by_name["tiny_int8.tflite"]["configurations"][0]["loads"]
    assert [entry["cold"] for entry in loads] == [0, 1]
    assert by_name["tiny_int8.tflite"]["per_image"]["preprocess_ms"]["runs"] == IMAGES
    run = next((tiny / "devices" / "host").glob("2*"))
    assert json.loads((run / "record.json").read_text()) == record
    assert len((run / "series.csv").read_text().splitlines()) == 1 + record["counts"]["timed"]
    assert report.read_text().startswith("<!doctype html>")
    assert not (tiny / "pwned").exists() and not Path("pwned").exists()


def test_the_drop_is_that_of_the_answers(tiny, images):
    (record,), _ = validate_devices(config(tiny, images), Host)
    answers = Host(load_bundle(tiny), images).answers(["tiny_int8.tflite"])
    before = answers.reference.argmax(1) == images.targets
    now = answers.files["tiny_int8.tflite"].argmax(1) == images.targets
    entry = next(f for f in record["files"] if f["precision"] == "int8")["accuracy"]
    assert entry["top1_percent"] == pytest.approx(100 * now.mean())
    assert entry["drop"]["lost"] == (before & ~now).sum()
    assert entry["drop"]["won"] == (~before & now).sum()


def test_the_same_job_twice_gives_the_same_answers(tiny, images):
    (first,), _ = validate_devices(config(tiny, images), Host)
    (second,), report = validate_devices(config(tiny, images), Host)
    assert second["counts"]["runs"] == 1 and first["started"] <= second["started"]
    for a, b in zip(first["files"], second["files"], strict=True):
        assert a["accuracy"] == b["accuracy"]
    assert first["comparable"] == second["comparable"]
    runs = sorted((tiny / "devices" / "host").glob("2*"))
    assert len(runs) == 2
    hashes = [
        {(d["configuration"], d["image"]): d["logits_sha256"]
         for d in map(decode, (run / LINES_FILE).read_bytes().splitlines()) if d.type == "image"}
        for run in runs
    ]  # fmt: skip
    assert hashes[0] == hashes[1] and len(hashes[0]) == 2 * IMAGES
    assert "History" in report.read_text()


def test_the_worker_is_all_that_a_device_needs(stream, tmp_path):
    """The copied modules alone run a job and say the same."""
    tree = copy_to(tmp_path / "tree")
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['worker', {str(stream[0])!r}]\n"
        "try: runpy.run_module('mobilemod.harness.worker', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "own = [m for n, m in sys.modules.items() if n.partition('.')[0] == 'mobilemod']\n"
        f"assert own and all(m.__file__.startswith({str(tree)!r}) for m in own), own\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    here, there = (
        [
            line.values["logits_sha256"]
            for line in map(decode, raw.splitlines())
            if line.type == "image"
        ]
        for raw in (stream[1].read_bytes(), done.stdout)
    )
    assert here == there and len(here) == 2 * IMAGES
    assert sorted(str(p.relative_to(tree)) for p in tree.rglob("*.py")) == sorted(FILES)


# -- lost devices


def test_a_cable_that_comes_out_three_times(tiny, images):
    driver = Changed(cable_out(after=9, times=3))
    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: driver)
    nothing_lost(record, runs=4)
    assert record["lost"] == ["cable out"] * 3
    assert record["counts"]["answered_again"] == 0


def test_a_worker_that_the_system_kills(tiny, images, monkeypatch):
    killed = []

    def change(raw: bytes, number: int, start: int) -> bytes:
        if start == 0 and number == 15:
            (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1:]
            os.kill(int(child), signal.SIGKILL)
            killed.append(child)
        return raw

    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: Changed(change))
    nothing_lost(record)
    assert len(killed) == 1 and record["counts"]["answered_again"] == 0


def test_a_device_that_never_comes_back_is_given_up(built, tmp_path):
    class Gone(HostDriver):
        def run(self, folder, resume, receive):
            raise DeviceLost("no such device")

    result = session(Gone(), built, tmp_path / "run").run()
    assert not result.complete and result.starts == 3
    assert result.reason.startswith("no such device; missing: tiny_int8.tflite accuracy")


def test_what_was_measured_before_a_device_was_lost_is_in_the_record(tiny, images):
    driver = Changed(cable_out(after=12, times=99))
    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: driver)
    # 99 starts of 12 lines each answer everything; latency's lines are more than that.
    assert not record["complete"] and "cable out" in record["reason"]
    assert record["counts"]["answered"] == 2 * IMAGES
    verdict = record["verdicts"][0]
    assert verdict["name"] == "complete" and not verdict["passed"]
    (again,), _ = validate_devices(config(tiny, images), Host)
    nothing_lost(again)
    assert again["counts"]["answered_again"] == 0


# -- lines


@pytest.mark.parametrize("seed", range(3))
def test_noise_on_the_line_costs_time_alone(tiny, images, seed):
    driver = Changed(noisy(seed))
    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: driver)
    counts = record["counts"]
    assert counts["damaged_lines"] > 0 and counts["repeated_lines"] > 0
    assert counts["answered"] == 2 * IMAGES and counts["missing"] == 0
    assert counts["answered_differently"] == 0
    for file in record["files"]:
        assert file["accuracy"]["host"]["identical"] == IMAGES


def test_every_line_twice(tiny, images):
    (record,), _ = validate_devices(
        config(tiny, images), Host, lambda _: Changed(lambda raw, n, s: raw + raw)
    )
    nothing_lost(record, runs=1)
    assert record["counts"]["repeated_lines"] == record["counts"]["lines"]


def test_a_clock_that_jumps_changes_nothing(tiny, images):
    """Wall clocks of another century; each start's `t` begins at 0 again."""

    def change(raw: bytes, number: int, start: int) -> bytes:
        if start == 0 and number == 12:
            raise DeviceLost("restarted")
        if b'"type":"hello"' in raw:
            return resigned(raw, wall=f"{2099 - 100 * start}-01-01T00:00:00+00:00")
        return raw

    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: Changed(change))
    nothing_lost(record, runs=2)
    for file in record["files"]:
        assert 0 < file["configurations"][0]["latency"]["p50_ms"] < 1e4


def test_ten_thousand_hostile_lines_neither_crash_nor_leave_the_folder(tiny, images, tmp_path):
    """Right checks, wrong values: through session, record, gates, page, CSV and JUnit."""
    good = [{"type": kind, "t": 0.5, **values} for kind, values in GOOD.items()]

    class Hostile(HostDriver):
        def run(self, folder, resume, receive):
            # Of this very job, whose id the device knows.
            receive(b"".join(hostile_lines(folder.job.id, good, seed, 2_500)))

    def others() -> set[Path]:
        """All but what is written of devices."""
        written = tiny / "devices", tiny / "report"
        return {p for p in tmp_path.rglob("*") if not any(map(p.is_relative_to, written))}

    for seed in range(4):  # noqa: B007 (the driver reads it)
        before = others()
        (record,), report = validate_devices(config(tiny, images), Host, lambda _: Hostile())
        assert others() == before
        counts = record["counts"]
        assert counts["lines"] + counts["damaged_lines"] >= 2_500
        assert counts["damaged_lines"] > 200 and counts["impossible_lines"] > 10
        assert "<script" not in report.read_text() and "NaN" not in json.dumps(record)
        shutil.rmtree(tiny / "devices")
    assert not Path("/tmp/pwned").exists()


def test_what_a_device_says_cannot_steer_a_terminal(tiny, images, capsys):
    def change(raw: bytes, number: int, start: int) -> bytes:
        if b'"type":"hello"' in raw:
            facts = {"kind": "host", "model": "a\x1b]0;b\x07\nc\u202e", "os": None}
            error = {"type": "error", "where": "x", "message": "\x1b[2Jgone", "fatal": False}
            extra = {**json.loads(raw), **error, "run": "e" * 16}
            extra.pop("crc")
            return resigned(raw, device=facts) + signed(extra)
        return raw

    (record,), report = validate_devices(config(tiny, images), Host, lambda _: Changed(change))
    said = capsys.readouterr().err + text_table(record) + json.dumps(record, ensure_ascii=False)
    assert record["device"]["facts"]["model"] == "a\ufffd]0;b\ufffd c\ufffd"
    assert record["errors"][0]["message"] == "\ufffd[2Jgone"
    for page in (said, report.read_text()):
        assert not set(page) & {"\x1b", "\x07", "\u202e"}


# -- what can't go on


def test_a_wrong_bundle_on_the_device(built, tmp_path):
    path = built.folder.path("models/tiny_int8.tflite")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    result = session(HostDriver(), built, tmp_path / "run").run()
    assert not result.complete and result.starts == 1
    assert "tiny_int8.tflite is not the file of its job (sha256 differs)" in result.reason


def test_a_wrong_bundle_is_one_line_and_no_record(tiny, images):
    class Swapping(HostDriver):
        def run(self, folder, resume, receive):
            folder.path("golden/0.png").write_bytes(b"other")
            super().run(folder, resume, receive)

    with pytest.raises(
        UserError, match=r"host: the device says: .*0\.png is not the file of its job"
    ):
        validate_devices(config(tiny, images), Host, lambda _: Swapping())
    assert not list((tiny / "devices").rglob("record.json"))


def test_a_full_disk_on_the_device(stream):
    command = [sys.executable, "-m", MODULE, str(stream[0]), "--stream", "/dev/full"]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 2
    (line,) = map(decode, done.stdout.splitlines())
    assert line.type == "error" and line["fatal"]
    assert line["message"] == "no space left on the device"


def test_a_full_disk_here_keeps_what_was_received(tiny, images):
    folder = tiny / "devices" / "host"
    filled = []

    def change(raw: bytes, number: int, start: int) -> bytes:
        if number == 14 and not filled:
            # What the session writes to is full from here on.
            (run,) = folder.glob("2*")
            handle = next(
                int(p.name) for p in Path("/proc/self/fd").iterdir()
                if p.exists() and os.readlink(p) == str(run / LINES_FILE)
            )  # fmt: skip
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, handle)
            os.close(full)
            filled.append(run)
        return raw

    with pytest.raises(OSError) as error:
        validate_devices(config(tiny, images), Host, lambda _: Changed(change))
    assert error.value.errno == errno.ENOSPC
    lines, *_ = read_lines(filled[0] / LINES_FILE, load_job(folder / "job").job)
    assert len(lines) == 14
    (record,), _ = validate_devices(config(tiny, images), Host)
    nothing_lost(record, runs=2)
    assert record["counts"]["answered_again"] == 0


def test_an_image_that_the_device_cannot_read(tiny, images):
    class Breaking(HostDriver):
        def check(self):
            pass

        def run(self, folder, resume, receive):
            super().run(folder, resume, receive)

    broken = images.samples[3].path
    good = broken.read_bytes()
    try:
        broken.write_bytes(good[:60])

        class Readable(Host):
            def answers(self, files):
                broken.write_bytes(good)
                return super().answers(files)

        (record,), _ = validate_devices(config(tiny, images), Readable, lambda _: Breaking())
    finally:
        broken.write_bytes(good)
    counts = record["counts"]
    assert record["complete"] and counts["unreadable"] == 1 and counts["missing"] == 0
    assert counts["answered"] == 2 * (IMAGES - 1)


def test_a_file_that_does_not_load_leaves_the_others(built, tmp_path, tiny, images):
    """An error that isn't fatal: said, and everything else is measured."""
    from mobilemod.files import file_sha256
    from mobilemod.harness.protocol.job import JOB_FILE, job_id

    folder = built.folder
    path = folder.path("models/tiny_int8.tflite")
    path.write_bytes(b"no model")
    values = json.loads((folder.folder / JOB_FILE).read_text())
    values["files"][0] |= {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    values["id"] = job_id(values)
    (folder.folder / JOB_FILE).write_text(json.dumps(values))
    again = session(HostDriver(), replace(built, folder=load_job(folder.folder)), tmp_path / "run")
    result = again.run()
    assert result.complete and result.starts == 1
    assert again.held.failed == {0}
    assert len(again.held.answered["tiny_float32.tflite"]) == IMAGES


# -- two at once, and stopping


def test_two_devices_at_once(tiny, images):
    drivers = {"host": Changed(cable_out(9, 1)), "host:2": Changed(noisy(7))}
    both = config(tiny, images, "host", "host:2")
    records, report = validate_devices(both, Host, drivers.__getitem__)
    assert [r["device"]["name"] for r in records] == ["host", "host:2"]
    nothing_lost(records[0], runs=2)
    assert records[1]["counts"]["answered"] == 2 * IMAGES
    assert {p.name for p in (tiny / "devices").iterdir() if p.is_dir()} == {"host", "host_2"}
    assert "host:2" in report.read_text()


def test_a_device_is_named_once(tiny, images):
    with pytest.raises(UserError, match="each device once"):
        config(tiny, images, "host", "host")


def test_more_threads_than_the_device_has(tiny, images):
    many = replace(config(tiny, images), plan=Plan(threads=(9999,)))
    with pytest.raises(UserError, match="the device runs at most"):
        validate_devices(many, Host)


def test_one_that_fails_leaves_the_other_measured(built, tmp_path):
    class Refuses(HostDriver):
        def run(self, folder, resume, receive):
            raise UserError("the app is too old")

    found = run_sessions([
        session(Refuses(), built, tmp_path / "a"), session(HostDriver(), built, tmp_path / "b"),
    ])  # fmt: skip
    assert isinstance(found[0], UserError) and found[1] == Result(True, None, 1, ())


def test_a_stopped_session_ends_its_worker(built, tmp_path):
    stop = threading.Event()

    def change(raw: bytes, number: int, start: int) -> bytes:
        if number == 5:
            stop.set()
        return raw

    one = session(Changed(change), built, tmp_path / "run", stop=stop)
    with pytest.raises(Stopped):
        one.run()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [c for c in children if MODULE in Path(f"/proc/{c}/cmdline").read_text()]
    again = session(HostDriver(), built, tmp_path / "run")
    assert again.run().complete


SCRIPT = """
import sys
from pathlib import Path
from mobilemod.data.imagefolder import read_folder
from mobilemod.harness.run.validate import validate_devices
from tests.harness.conftest import Host
from tests.harness.devices import Changed
from tests.harness.test_session import config
from tests.tiny_bundle import IDS
import time
def slow(raw, number, start):
    time.sleep(0.05)
    return raw
both = config(Path(sys.argv[1]), read_folder(Path(sys.argv[2]), IDS), *sys.argv[3:])
validate_devices(both, Host, lambda _: Changed(slow))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_harness_that_is_killed_goes_on_at_the_last_image(tiny, images, how):
    root = Path(__file__).parents[2]
    process = interruptible(
        [sys.executable, "-c", SCRIPT, str(tiny), str(images.root)],
        cwd=root,
        stderr=subprocess.DEVNULL,
    )
    lines = None
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = list((tiny / "devices" / "host").glob(f"2*/{LINES_FILE}"))
        if found and found[0].read_bytes().count(b'"type":"image"') >= 5:
            lines = found[0]
            break
        time.sleep(0.02)
    assert lines is not None, "the run ended or never began"
    process.send_signal(how)
    process.wait()
    held = lines.read_bytes().count(b'"type":"image"')
    assert 5 <= held < 2 * IMAGES
    (record,), _ = validate_devices(config(tiny, images), Host)
    nothing_lost(record, runs=2)
    assert record["counts"]["answered_again"] == 0
    assert lines.read_bytes().count(b'"type":"image"') == 2 * IMAGES
    assert len(list((tiny / "devices" / "host").glob("2*"))) == 1


def test_ctrl_c_stops_two_devices(tiny, images):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SCRIPT, str(tiny), str(images.root), "host", "host:2"]
    process = interruptible(command, cwd=root, stderr=subprocess.DEVNULL)
    both = tiny / "devices" / "host", tiny / "devices" / "host_2"
    while process.poll() is None and not all(list(f.glob(f"2*/{LINES_FILE}")) for f in both):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    held = sum(p.read_bytes().count(b'"type":"image"') for f in both for p in f.glob("2*/lines*"))
    assert held < 4 * IMAGES
    drivers = {"host": HostDriver(), "host:2": HostDriver()}
    again = config(tiny, images, *drivers)
    for record in validate_devices(again, Host, drivers.__getitem__)[0]:
        nothing_lost(record)
        assert record["counts"]["answered_again"] == 0


def test_a_devices_own_stream_is_not_run_again(stream, tmp_path):
    """What a device wrote before it was killed counts, though nobody received it."""
    raw = stream[1].read_bytes().splitlines(keepends=True)
    own = tmp_path / "own.jsonl"
    own.write_bytes(b"".join(raw[:20]) + raw[20][:30])
    before = [line for line in map(decode, raw[:20]) if line.type == "image"]
    command = [sys.executable, "-m", MODULE, str(stream[0]), "--stream", str(own)]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    job = load_job(stream[0]).job
    lines, reader, held, _ = read_lines(own, job)
    assert reader.counts["damaged"] == 1 and not held.open_phases()
    assert sum(line.type == "image" for line in lines) == 2 * IMAGES
    assert len(before) > 0
    new = [line for line in map(decode, done.stdout.splitlines()) if line.type == "image"]
    assert len(new) == 2 * IMAGES - len(before)


def test_preprocessing_and_pixels_give_the_same_answers(tiny, images):
    class Pixels(HostDriver):
        input_kind = "pixels"

    (record,), _ = validate_devices(config(tiny, images), Host, lambda _: Pixels())
    nothing_lost(record, runs=1)
    assert record["job"]["inputs"] == "pixels"


def test_warm_up_ends_where_it_is_stable():
    from mobilemod.harness.worker.timing import stable

    assert not stable([1.0] * 15)
    assert stable([9.0] * 4 + [1.0] * 16)
    assert stable([1.0] * 8 + [1.04] * 8) and not stable([1.0] * 8 + [1.06] * 8)
    rng = np.random.default_rng(0)
    assert stable(list(1 + 0.01 * rng.standard_normal(40)))
