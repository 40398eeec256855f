"""The iPhone driver: its tools' recorded answers, and whole jobs over their stand-in.

No phone was ever met: what the tools answer is as documented, what pymobiledevice3 logs was
recorded from it where no phone is. The job's work is real, by the worker.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from export.targets.target import target_of_file
from mobilemod.errors import UserError
from mobilemod.harness.bench.bench import bench
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.following import whole_lines
from mobilemod.harness.drivers.iphone import devicectl, mobiledevice, tools
from mobilemod.harness.drivers.iphone import driver as iphone
from mobilemod.harness.drivers.iphone.devicectl import DeviceCtl
from mobilemod.harness.drivers.iphone.driver import IPhoneDriver, Pace, choose, push, read_held
from mobilemod.harness.drivers.iphone.mobiledevice import MobileDevice
from mobilemod.harness.drivers.iphone.placement import placement
from mobilemod.harness.drivers.iphone.tools import Phone
from mobilemod.harness.protocol.lines import MAX_LINE
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.run.session import LINES_FILE, Session, read_lines
from mobilemod.manifest import load_bundle
from tests.phone.tool import DATA
from tests.tiny_bundle import draw_images, make_bundle

UDID = "00008120-0011223344556677"
ROOT = Path(__file__).parents[2]
QUICK = Pace(poll=0.1, silence=15.0)


def recorded(name: str):
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


# What the tools answer


class Growing:
    """A tool whose phone's stream has so many bytes by now."""

    def __init__(self, data: bytes, *sizes: int) -> None:
        self.data, self.sizes = data, list(sizes)

    def pull(self, udid: str, path: str, target: Path) -> bool:
        target.write_bytes(self.data[: self.sizes.pop(0)])
        return True


def test_a_stream_is_handed_on_by_whole_lines():
    data, got = b"one\ntwo\n", []
    stream = iphone.Stream(Growing(data, 2, 6, 8), UDID, "a" * 64, 0)
    assert [stream.hand_on(got.append) for _ in range(3)] == [False, True, True]
    assert got == [b"one\n", b"two\n"] and stream.offset == len(data)
    long = b"x" * (MAX_LINE + 1)
    assert whole_lines(long) == long and whole_lines(long[:-1]) == b""


def test_devicectls_list():
    """A watch, a stranger's phone and one that is away are no candidates."""
    assert devicectl.parse_devices(recorded("devicectl-list")["result"]) == [
        Phone(UDID, 'Test "phone" $(id) & more', "iPhone 15", "17.5.1")
    ]


def test_devicectls_newer_list():
    assert devicectl.parse_devices(recorded("devicectl-list-properties")["result"]) == [
        Phone("00008150-0011223344556677", "Newer", "iPhone18,1", "27.0")
    ]


@pytest.mark.parametrize("result", [None, [], {}, {"devices": 3}, {"devices": [1, {}, {"x": []}]}])
def test_odd_lists_hold_no_phone(result):
    assert devicectl.parse_devices(result) == []


def test_the_sentences_of_an_error_the_outer_one_first():
    text = devicectl.error_text(recorded("devicectl-locked"))
    assert text.startswith("The application failed to launch. The request was denied")
    assert text.endswith("could not be, unlocked.")
    assert (
        devicectl.error_text({})
        == devicectl.error_text([])
        == devicectl.error_text({"error": 3})
        == ""
    )


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ("Failed to retrieve the file node for Documents/x", tools.Absent, ""),
        ("the device was not, or could not be, unlocked", UserError, "unlock the phone"),
        ("application io.mobilemod.app is not installed", UserError, "install apps/ios"),
        ("Developer Mode is disabled.", UserError, "turn on developer mode"),
        ("There is no space left on the volume", UserError, "disk is full"),
        ("Failed to connect to usbmuxd socket.", DeviceLost, "usbmuxd"),
        ("The tunnel connection was interrupted", DeviceLost, "tunnel"),
        ("", UserError, "failed without a word"),
        ("two\nlines", UserError, "two lines"),
    ],
)
def test_what_a_failure_means(message, kind, words):
    error = tools.failure("tool", message)
    assert type(error) is kind and words in str(error) and "\n" not in str(error)


def test_battery():
    assert mobiledevice.parse_battery(recorded("pymobiledevice3-battery")) == {
        "temperature_c": 30.4,
        "level": 0.78,
        "charging": False,
    }
    assert (
        mobiledevice.parse_battery(None)
        == mobiledevice.parse_battery({"CurrentCapacity": 900})
        == {}
    )


def test_one_phone_is_chosen():
    a, b = Phone("a", "A", "x", "17"), Phone("b", "B", "x", "17")
    assert choose([a], None) == a and choose([a, b], "b") == b
    with pytest.raises(UserError, match=r"2 phones .*: a \(A\), b \(B\); choose one: .*iphone:a"):
        choose([a, b], None)
    with pytest.raises(UserError, match="no iPhone c is connected"):
        choose([a, b], "c")


def test_no_tool_is_one_line(monkeypatch):
    monkeypatch.setattr(iphone.sys, "platform", "linux")
    monkeypatch.setattr(iphone.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install mobilemod\[iphone\]"):
        IPhoneDriver(None).check()


def test_a_mac_without_xcode_takes_pymobiledevice3(monkeypatch, tmp_path):
    monkeypatch.setattr(iphone.sys, "platform", "darwin")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(iphone.importlib.util, "find_spec", lambda name: object())
    assert isinstance(iphone.find_tool(), MobileDevice)


def test_where_heavy_ops_ran():
    ops = [
        {"op": "conv", "name": "a", "device": "Neural Engine", "share": 0.5},
        {"op": "conv", "name": "b", "device": "CPU", "share": 0.1},
        {"op": "matmul", "name": "c", "device": "unknown", "share": None},
        {"op": "add", "name": "d", "device": "CPU", "share": 0.1},
    ]
    assert placement(ops)["fallback"] == {"conv": 1, "matmul": 1}
    assert placement(ops[:1])["fallback"] == {}


# Whole jobs over the stand-in


RUN = """
import subprocess, sys
from pathlib import Path
container, job = Path(sys.argv[1]), sys.argv[2]
records = container / "Documents" / "records"
records.mkdir(exist_ok=True)
folder = container / "Documents" / "jobs" / job
sys.exit(subprocess.call([
    sys.executable, "-m", "mobilemod.harness.worker", str(folder), "--kind", "iphone",
    "--stream", str(records / f"{job}.jsonl"),
], stdout=subprocess.DEVNULL))
"""


@pytest.fixture(params=["devicectl", "pymobiledevice3"])
def phone(request, monkeypatch, tmp_path):
    """(tool, folder of the stand-in). Its files: a folder that both tools' command lines reach."""
    folder = tmp_path / "phone"
    (folder / "container/Documents").mkdir(parents=True)
    (folder / "fail").mkdir()
    (folder / "run").write_text(RUN)
    script = "from runpy import run_module\nrun_module('tests.phone.tool', run_name='__main__')\n"
    stand_in, bin_folder = tmp_path / "modules", tmp_path / "bin"
    words = f"import sys\nsys.argv[1:1] = [{request.param!r}, {str(folder)!r}]\n"
    (stand_in / "pymobiledevice3").mkdir(parents=True)
    (stand_in / "pymobiledevice3/__init__.py").touch()
    (stand_in / "pymobiledevice3/__main__.py").write_text(words + script)
    bin_folder.mkdir()
    xcrun = bin_folder / "xcrun"
    xcrun.write_text(f"#!{sys.executable}\n{words}{script}")
    xcrun.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(stand_in), str(ROOT)]))
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    tool = DeviceCtl() if request.param == "devicectl" else MobileDevice()
    # The worker stands in for the app, and runs what it can.
    monkeypatch.setattr(IPhoneDriver, "suffixes", lambda self: (".tflite",))
    monkeypatch.setattr(IPhoneDriver, "delegates", lambda self, target: ("xnnpack",))
    return tool, folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("images"), 24)


def calls(folder: Path, *verb: str) -> list[list[str]]:
    found = [json.loads(line) for line in (folder / "calls").read_text().splitlines()]
    return [c for c in found if all(v in c for v in verb)]


def test_a_job_from_push_to_done(phone, bundle, images, tmp_path, capsys):
    tool, folder = phone
    driver = IPhoneDriver(None, tool, QUICK)
    driver.check()
    built = build_job(bundle, images, driver, Plan(latency=None), tmp_path / "job").folder
    session = Session(driver, built, tmp_path / "run", print, pauses=(0.1,))
    result = session.run()
    assert result.complete, (result, (folder / "log").read_text())
    lines, reader, held, _ = read_lines(tmp_path / "run" / LINES_FILE, built.job)
    assert dict(reader.counts).keys() == {"lines"}
    assert all(held.missing(f.name) == set() for f in built.job.files)
    assert "files pushed" in capsys.readouterr().err
    phone_state = driver.extra(built)["tiny_int8.tflite"].get("phone")
    assert (phone_state is not None) == (tool.name == "pymobiledevice3")
    # The phone's name and the images' are hostile; a shell never sees them.
    words = [w for call in calls(folder) for w in call]
    assert not any("$(" in w for w in words)
    # Only what changed goes over again.
    assert push(tool, UDID, built) == 0
    (built.folder / "resume.json").write_text("{}")
    assert push(tool, UDID, built) == 1
    assert read_held(tool, UDID).keys() == {built.job.id}


def test_bench_by_the_app_fails_where_heavy_ops_fell_back(phone, bundle, monkeypatch):
    ops = [{"op": "conv", "name": n, "device": d, "share": None} for n, d in (("a", "CPU"),)]
    placed = {"placement": placement(ops), "ops_by_device": {"CPU": 1}, "ops": ops}
    monkeypatch.setattr(
        iphone, "placement_by_file", lambda folder, udid: {f.name: placed for f in folder.job.files}
    )
    monkeypatch.setattr(iphone, "create", lambda udid: IPhoneDriver(udid, phone[0], QUICK))
    device = f"iphone:{UDID}"
    record, verdicts = bench(
        bundle.folder, device, lambda path: target_of_file(path).load(path), runs=5
    )
    assert record["device"] == device and record["environment"]["kind"] == "iphone"
    assert [f["latency"]["runs"] for f in record["files"]] == [5, 5]
    assert [f["ops_by_device"] for f in record["files"]] == [{"CPU": 1}] * 2
    assert [v.line for v in verdicts] == [
        f"placement: tiny_{p}.tflite: 1 of 1 fall back: a (conv, CPU): fail"
        for p in ("int8", "float32")
    ]
    written = json.loads((bundle.folder / "bench" / f"iphone_{UDID}.json").read_text("utf-8"))
    assert written == record


@pytest.mark.slow
def test_an_app_that_ends_is_started_again(phone, bundle, images, tmp_path):
    tool, folder = phone
    # The first start dies after a few lines, the second goes on from there.
    (folder / "run").write_text(
        RUN.replace("DEVNULL)", "DEVNULL, timeout=limit)").replace(
            "sys.exit(", "limit = None if (container / 'x').exists() else 0.01\n"
            "(container / 'x').touch()\nsys.exit("
        )
    )  # fmt: skip
    driver = IPhoneDriver(UDID, tool, Pace(poll=0.1, silence=4.0))
    driver.check()
    built = build_job(bundle, images, driver, Plan(latency=None), tmp_path / "job").folder
    result = Session(driver, built, tmp_path / "run", print, pauses=(0.1,)).run()
    assert result.complete and result.starts == 2
    assert "has said nothing for 4 s" in result.lost[0]


def test_a_locked_phone_is_one_line(bundle, images, tmp_path, phone):
    tool, folder = phone
    driver = IPhoneDriver(UDID, tool, QUICK)
    driver.check()
    built = build_job(bundle, images, driver, Plan(latency=None), tmp_path / "job").folder
    locked = {
        "devicectl": ("device-process-launch", (DATA / "devicectl-locked.json").read_text()),
        "pymobiledevice3": ("developer-dvt-launch", "x ERROR Device is locked."),
    }
    name, text = locked[tool.name]
    (folder / "fail" / name).write_text(text)
    with pytest.raises(UserError, match="unlock the phone") as raised:
        driver.run(built, None, bytes)
    assert "\n" not in str(raised.value)


def test_no_phone_is_one_line(phone):
    tool, folder = phone
    name = "list-devices" if tool.name == "devicectl" else "usbmux-list"
    text = (DATA / "pymobiledevice3-no-usbmuxd.txt").read_text()
    (folder / "fail" / name).write_text("{}" if tool.name == "devicectl" else text)
    with pytest.raises(UserError) as raised:
        IPhoneDriver(None, tool, QUICK).check()
    assert "\n" not in str(raised.value)
