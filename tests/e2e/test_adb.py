"""Jobs over adb to their end, every fault on the way: the real client, the emulated device.

What runs the job there is the app's stand-in (the worker in this machine's Python): what matters
here is what comes between it and the record. ARM64 and the command line: test_adb_arm64.py.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from export.verbs.main import main
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.harness.drivers import JobFolder
from mobilemod.harness.drivers.adb.driver import AdbDriver, Pace
from mobilemod.harness.drivers.adb.runners import PACKAGE, RECORDS
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job import LatencyPlan
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.run.session import LINES_FILE, Result, Session, read_lines, run_sessions
from mobilemod.manifest import load_bundle
from tests.adbd.device import EmulatedDevice, emulated, plug
from tests.tiny_bundle import draw_images, make_bundle

IMAGES = 150
ANSWERS = Plan(latency=None)
QUICK = Pace(poll=0.1, patience=20.0, grace=20.0, cooling=0.0)
APP = f"/data/app/{PACKAGE}/run"


@pytest.fixture(scope="module")
def phone(adb, tmp_path_factory):
    with emulated(tmp_path_factory.mktemp("phone"), "--no-python", "--app") as device:
        yield device


@pytest.fixture(autouse=True)
def nothing_left(request):
    """The device's settings are what they were after each test, and nothing of it runs on."""
    yield
    if "phone" not in request.fixturenames:
        return
    phone = request.getfixturevalue("phone")
    assert phone.setting("global", "stay_on_while_plugged_in") == "0"
    assert phone.setting("system", "screen_off_timeout") == "60000"
    assert phone.path("/data/system/screen").read_text() == "off\n"
    device = plug(phone)
    assert device.run("pidof", PACKAGE).text == ""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageFolder:
    return draw_images(tmp_path_factory.mktemp("images"), IMAGES)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def expected(bundle, images, tmp_path_factory):
    """The host's answers to the same job: (file, image) -> (top, hash of the logits)."""
    out = tmp_path_factory.mktemp("host")
    folder = build_job(bundle, images, HostDriver(), Plan(latency=None), out / "job").folder
    assert Session(HostDriver(), folder, out / "run").run().complete
    return answers(folder, out / "run")


def answers(folder: JobFolder, out: Path) -> dict:
    lines, *_ = read_lines(out / LINES_FILE, folder.job)
    files = [c.file for c in folder.job.configurations]
    return {
        (files[line["configuration"]], line["image"]): (line["top"], line["logits_sha256"])
        for line in lines
        if line.type == "image"
    }


class Measured:
    """A session on a device, and what its folder holds afterwards."""

    def __init__(self, device, bundle, images, out: Path, plan: Plan = ANSWERS):
        self.driver, self.out = AdbDriver(device.address, QUICK), out / "run"
        self.driver.check()
        self.folder = build_job(bundle, images, self.driver, plan, out / "job").folder
        self.session = Session(self.driver, self.folder, self.out, print, pauses=(0.1, 0.2))

    def run(self) -> Result:
        return self.session.run()

    def again(self) -> Result:
        """As by another process."""
        driver = AdbDriver(self.driver._serial, QUICK)
        return Session(driver, self.folder, self.out, print, pauses=(0.1, 0.2)).run()

    def check(self, expected: dict) -> dict[str, int]:
        """Nothing is missing and nothing differs; the counts."""
        _, reader, held, impossible = read_lines(self.out / LINES_FILE, self.folder.job)
        assert answers(self.folder, self.out) == expected
        assert all(held.missing(f.name) == set() for f in self.folder.job.files)
        assert held.open_phases() == set() and impossible == 0
        return dict(reader.counts)

    @property
    def stream(self) -> str:
        return f"{RECORDS}/{self.folder.job.id}.jsonl"


def when(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a condition holds."""

    def wait() -> None:
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            if condition():
                act()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def lines_on(phone: EmulatedDevice, measured: Measured) -> int:
    path = phone.path("/data/media/0").joinpath(*measured.stream.split("/")[2:])
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_job_with_times_gives_the_hosts_answers(adb, phone, bundle, images, expected, tmp_path):
    plan = Plan(latency=LatencyPlan(0.0, 20, 64, 0.1, 1))
    measured = Measured(phone, bundle, images, tmp_path, plan)
    assert measured.run() == Result(True, None, 1, ())
    counts = measured.check(expected)
    assert set(counts) == {"lines"}
    lines, *_ = read_lines(measured.out / LINES_FILE, measured.folder.job)
    steady = [line for line in lines if line.type == "times" and line["phase"] == "steady"]
    assert sum(len(line["ms"]) for line in steady) >= 2 * 64
    calls = phone.calls()
    assert "input keyevent KEYCODE_WAKEUP" in calls and f"am force-stop {PACKAGE}" in calls
    # The stream was taken away, so that the next run measures anew.
    assert lines_on(phone, measured) == 0
    extra = measured.driver.extra(measured.folder)["tiny_int8.tflite"]["phone"]
    assert extra["before"]["governors"] == {"0": "schedutil"}
    assert extra["hints"] and extra["after"]["thermal"] == "nominal"


def test_bench_times_a_file_by_the_app(adb, phone, bundle, tmp_path, capsys):
    file, device = bundle.folder / "tiny_int8.tflite", f"adb:{phone.address}"
    words = ("--device", device, "--runs", "7", "--json", "-")
    assert main(["bench", str(file), *words]) == 0
    record = json.loads(capsys.readouterr().out)
    (measured,) = record["files"]
    assert (record["device"], record["model"]) == (device, "tiny")
    assert measured["latency"]["runs"] == 7 and measured["load"]["runs"] == 3
    assert measured["logits"]["identical"] and measured["phone"]["before"]["governors"]
    assert not (bundle.folder / "bench").exists()  # one file's record isn't the bundle's


def test_cable_out_in_mid_job(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    # After the push, and twice in mid-stream.
    when(lambda: lines_on(phone, measured) > 20, lambda: phone.order(unplug=0.7))
    when(lambda: lines_on(phone, measured) > 120, lambda: phone.order(unplug=1.5))
    result = measured.run()
    assert result.complete and result.lost
    assert set(measured.check(expected)) == {"lines"}
    # It went on there, and was found again: one run.
    lines, *_ = read_lines(measured.out / LINES_FILE, measured.folder.job)
    assert len({line.run for line in lines}) == 1


@pytest.mark.slow
def test_cable_out_in_mid_transfer(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    when(
        lambda: lines_on(phone, measured) > 10,
        lambda: phone.order(cut={"direction": "out", "bytes": 20_000, "seconds": 0.5}),
    )
    pulled = phone.order()["pulled"]
    result = measured.run()
    assert result.complete and phone.order()["pulled"] == pulled + 1
    assert set(measured.check(expected)) == {"lines"}


def test_the_app_is_killed_by_the_system(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)

    def kill() -> None:
        plug(phone).run("am", "force-stop", PACKAGE)

    when(lambda: lines_on(phone, measured) > 10, kill)
    result = measured.run()
    assert result.complete and result.starts == 2
    assert result.lost == (f"{phone.address}: the app ended before the job was done",)
    counts = measured.check(expected)
    # A line may have been cut off in its middle; it was answered again.
    assert counts.get("damaged", 0) <= 1 and "repeated" not in counts


SPOIL = """
import os, sys
out = open(sys.argv[1], "ab", buffering=0)
first = not os.path.exists("/data/local/tmp/spoilt")
open("/data/local/tmp/spoilt", "w").close()
for i, line in enumerate(sys.stdin.buffer):
    if not first or b'"hello"' in line or b'"done"' in line:
        out.write(line)
    elif i % 7 == 0:
        out.write(line + line)                      # twice
    elif i % 11 == 0:
        out.write(line[: len(line) // 2] + b"\\n")  # cut
    elif i % 13 == 0:
        out.write(bytes(range(256)) + b"\\n" + line)  # garbage, with a newline in it
    elif i % 17 == 0:
        out.write(line.replace(b'"seq"', b'"sex"'))  # a bit flipped
    else:
        out.write(line)
"""


def test_lines_twice_cut_or_garbage(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    run = phone.path(APP)
    clean = run.read_text()
    command, _, _ = clean.splitlines()[1].partition(" --stream ")
    python = command.split(" -m ")[0].replace("exec ", "")
    phone.path("/data/local/tmp/spoil.py").write_text(SPOIL)
    run.write_text(
        f"#!/system/bin/sh\n{command.replace('exec ', '')} | "
        f'{python} /data/local/tmp/spoil.py "{RECORDS}/${{1##*/}}.jsonl"\n'
    )
    try:
        result = measured.run()
    finally:
        run.write_text(clean)
    assert result.complete and result.starts == 2
    counts = measured.check(expected)
    assert counts["repeated"] > 15 and counts["damaged"] > 30


@pytest.mark.slow
def test_garbage_in_place_of_answers(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    phone.order(garbage=["stat -c %s", 2])
    result = measured.run()
    assert result.complete and "answers no size" in result.lost[0]
    assert set(measured.check(expected)) == {"lines"}


def test_a_wrong_file_on_the_device_is_named(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    run = phone.path(APP)
    clean = run.read_text()
    spoil = 'printf x | dd of="$1/models/tiny_int8.tflite" bs=1 seek=99 conv=notrunc 2>/dev/null'
    run.write_text(clean.replace("#!/system/bin/sh\n", f"#!/system/bin/sh\n{spoil}\n"))
    try:
        result = measured.run()
    finally:
        run.write_text(clean)
    assert not result.complete
    assert "tiny_int8.tflite is not the file of its job" in result.reason
    # The next run notices by the hash, pushes it again, and ends well.
    assert measured.again().complete
    measured.check(expected)


@pytest.mark.slow
def test_an_app_that_is_stuck_is_started_again(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    measured.driver._pace = replace(QUICK, silence=6.0)
    run = phone.path(APP)
    clean = run.read_text()
    once = "[ -f /data/stuck ] || { touch /data/stuck; exec sleep 600; }"
    run.write_text(clean.replace("/sh\n", f"/sh\n{once}\n", 1))
    try:
        result = measured.run()
    finally:
        run.write_text(clean)
    assert result.complete and "nothing was said for 6 s" in result.lost[0]
    measured.check(expected)


def test_an_app_without_the_activity_is_one_line(adb, phone, bundle, images, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    package = phone.path(f"/data/app/{PACKAGE}")
    package.rename(package.with_name("away"))
    try:
        with pytest.raises(UserError, match="harness activity doesn't start .*; install the app"):
            measured.run()
        with pytest.raises(UserError, match="neither the app .* nor a Python"):
            AdbDriver(phone.address, QUICK).check()
    finally:
        package.with_name("away").rename(package)


def test_the_devices_disk_fills_up_in_mid_job(adb, bundle, images, expected, tmp_path):
    size = sum(p.path.stat().st_size for p in images.samples) + 1_500_000
    options = ("--no-python", "--app", "--disk", str(size))
    with emulated(tmp_path / "phone", *options) as phone:
        measured = Measured(phone, bundle, images, tmp_path)
        device = plug(phone)

        def written() -> bool:
            words = device.run("wc", "-l", measured.stream).text.split()
            return bool(words) and int(words[0]) > 60

        when(written, lambda: device.script("cat /dev/zero >/data/fill"))
        with pytest.raises(UserError, match="its disk is full, so the job stopped"):
            measured.run()
        _, _, held, _ = read_lines(measured.out / LINES_FILE, measured.folder.job)
        kept = sum(map(len, held.answered.values()))
        assert 40 < kept < 2 * IMAGES
        device.run("rm", "/data/fill")
        assert measured.again().complete
        # Twice: another process reads the stream from its beginning.
        assert measured.check(expected).get("damaged", 0) <= 2


def test_two_devices_at_once(adb, phone, bundle, images, expected, tmp_path):
    options = ("--no-python", "--app", "--name", "Second")
    with emulated(tmp_path / "phone", *options) as second:
        both = [
            Measured(p, bundle, images, tmp_path / name)
            for p, name in ((phone, "a"), (second, "b"))
        ]
        with pytest.raises(
            UserError, match=r"2 devices are connected: .*choose one: --device adb:127"
        ):
            AdbDriver(None, QUICK).check()
        when(lambda: lines_on(second, both[1]) > 10, lambda: second.order(unplug=0.5))
        results = run_sessions([m.session for m in both])
        assert [r.complete for r in results] == [True, True] and results[0].lost == ()
        for measured in both:
            assert set(measured.check(expected)) == {"lines"}


def test_stopped_by_the_user(adb, phone, bundle, images, expected, tmp_path):
    measured = Measured(phone, bundle, images, tmp_path)
    when(lambda: lines_on(phone, measured) > 10, measured.session.stop.set)
    [stopped] = run_sessions_of_one(measured)
    assert type(stopped).__name__ == "Stopped"
    # The job doesn't go on behind the user's back (see also `nothing_left`), and isn't lost.
    count = lines_on(phone, measured)
    time.sleep(0.3)
    assert 0 < count == lines_on(phone, measured)
    assert measured.again().complete
    assert measured.check(expected).get("damaged", 0) <= 2


def run_sessions_of_one(measured: Measured) -> list[BaseException]:
    try:
        measured.run()
    except Exception as error:
        return [error]
    return []
