"""The adb driver's parts with the real adb client, against the daemon of tests/adbd."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost
from mobilemod.harness.drivers.adb.client import Listed, choose, parse_devices
from mobilemod.harness.drivers.adb.driver import Follower, only_this_process
from mobilemod.harness.drivers.adb.settings import Saved, hints, parse_saved, steady
from mobilemod.harness.drivers.adb.state import (
    parse_battery,
    parse_sysfs,
    parse_thermal,
    read_state,
    wait_until_cool,
)
from mobilemod.harness.drivers.adb.store import Store, batched, entries_of
from mobilemod.harness.drivers.bounded import last_line, run_bounded
from mobilemod.harness.drivers.following import End
from mobilemod.harness.protocol.job import Configuration, Hashed, Inputs, Item, Job, JobFile, job_id
from mobilemod.harness.protocol.job_folder import JobFolder, load_job
from mobilemod.harness.protocol.lines import Writer
from tests.adbd.device import EmulatedDevice, emulated, plug
from tests.phone.tool import DATA

pytestmark = pytest.mark.alone

FOLDER = "/data/local/tmp/mobilemod"
HOSTILE = [
    "a b", "it's", 'say "x"', "$(touch /data/owned)", "`touch /data/owned`", "; touch /data/owned",
    "&& touch /data/owned", "| tee /data/owned", "> /data/owned", "-rf", "--", "*", "~", "\\",
    "é\n", "$IFS", "${PATH}", "#", "!", "a\tb", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def phone(adb, tmp_path_factory):
    with emulated(tmp_path_factory.mktemp("phone"), "--no-python") as device:
        yield device


@pytest.fixture
def device(phone):
    return plug(phone)


def make_job(folder: Path, images: int = 20, size: int = 2000) -> JobFolder:
    """A job of random bytes; nothing here looks into them. Images have hostile names."""

    def put(path: str, data: bytes) -> Hashed:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        return Hashed(path, hashlib.sha256(data).hexdigest())

    random_bytes = random.Random(folder.name).randbytes
    inputs = [put(f"inputs/{i:06d}.jpg", random_bytes(size)) for i in range(images)]
    items = [Item(HOSTILE[i % len(HOSTILE)], None, h.path, h.sha256) for i, h in enumerate(inputs)]
    model = put("models/m.tflite", random_bytes(300_000))
    job = Job(
        id="",
        model="m",
        manifest=put("manifest.json", b"{}"),
        files=(JobFile("m.tflite", model.path, model.sha256, 300_000, "tflite", "int8"),),
        inputs=Inputs("images", images, tuple(items)),
        golden=(),
        configurations=(Configuration("m.tflite", 1, "xnnpack"),),
    )
    job = replace(job, id=job_id(job.to_dict()))
    (folder / "job.json").write_text(json.dumps(job.to_dict()))
    return load_job(folder)


# What adb and Android print


def test_devices_listed():
    text = (
        "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
        "List of devices attached\n"
        "R5CT10ABCDE            device usb:1-2 product:a model:SM_S911B transport_id:4\n"
        "0123456789ABCDEF       unauthorized usb:1-3 transport_id:5\n"
        "192.168.1.7:5555       offline transport_id:6\n"
        "emulator-5554          no permissions (missing udev rules? user is in the plugdev group);"
        " see [http://developer.android.com/tools/device.html] usb:1-4\n\n"
    )
    assert parse_devices(text) == [
        Listed("R5CT10ABCDE", "device", "SM_S911B"),
        Listed("0123456789ABCDEF", "unauthorized", None),
        Listed("192.168.1.7:5555", "offline", None),
        Listed("emulator-5554", "no permissions", None),
    ]


@pytest.mark.parametrize(
    ("devices", "serial", "words"),
    [
        ([], None, ("adb sees no device", "USB debugging")),
        ([Listed("b", "device", None)], "a", ("no device a", "it sees b")),
        ([Listed("a", "unauthorized", None)], None, ("a is unauthorized", "allow USB debugging")),
        ([Listed("a", "offline", None)], "a", ("a is offline", "reconnect")),
        (
            [Listed("a", "device", "Pixel"), Listed("b", "device", None)],
            None,
            ("2 devices", "a (Pixel), b", "--device adb:a"),
        ),
    ],
)
def test_one_line_where_no_device_is_meant(devices, serial, words):
    with pytest.raises(UserError) as raised:
        choose(devices, serial)
    assert all(w in str(raised.value) for w in words)
    assert "\n" not in str(raised.value)


def test_a_usable_device_is_chosen_beside_others():
    listed = [Listed("a", "offline", None), Listed("b", "device", None)]
    assert choose(listed, None).serial == "b"


def test_thermal_battery_and_clocks_of_odd_answers():
    assert [parse_thermal(f"x\nThermal Status: {i}\n") for i in range(7)] == [
        "nominal", "fair", "serious", "serious", "critical", "critical", "critical",
    ]  # fmt: skip
    assert parse_thermal("Can't find service: thermalservice") is None
    assert parse_thermal("Thermal Status: 9") is None
    assert parse_battery("  level: 50\n  scale: 200\n  status: 2\n") == (
        None,
        {"level": 0.25, "charging": True},
    )
    assert parse_battery("level: 500\nscale: 100\n  temperature: -55") == (-5.5, None)
    assert parse_battery("level: 5\nscale: 0") == (None, None)
    zones, governors, now, most = parse_sysfs(
        "zone 41000 cpu big\nzone x y\nzone\ncpu 0 walt 300000 2000000\ncpu 7 walt - -\ncpu q\n\0"
    )
    assert zones == {"cpu big": 41.0}
    assert governors == {0: "walt", 7: "walt"}
    assert (now, most) == ({0: 300_000_000, 7: None}, {0: 2_000_000_000, 7: None})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"settings": 3}', '{"settings": [1]}'])
def test_no_saved_settings(text):
    assert parse_saved(text) is None


def test_saved_settings_of_others_are_left_out():
    key = ("global", "stay_on_while_plugged_in")
    text = json.dumps(
        {"settings": [[*key, "3"], ["secure", "x", "1"], [*key[:1], "y", "$(x)"]], "awake": True}
    )
    assert parse_saved(text) == Saved({key: "3"}, True)
    assert parse_saved(Saved({key: "0"}, False).dump()) == Saved({key: "0"}, False)


# On the device


def test_nothing_hostile_reaches_a_shell(device, phone):
    for text in HOSTILE:
        assert device.run("printf", "%s", text).stdout.decode() == text
        assert device.script('printf "%s" "$1"', text).stdout.decode() == text
    assert not phone.path("/data/owned").exists()


def test_exit_status_and_both_outputs(device):
    done = device.script("echo out; echo err >&2; exit 7")
    assert (done.text, done.stderr.strip(), done.status) == ("out", "err", 7)


def test_state_is_read(device):
    state = read_state(device)
    assert (state.thermal, state.temperature_c) == ("nominal", 31.0)
    assert state.battery == {"level": 0.82, "charging": False}
    assert state.governors == {0: "schedutil"} and state.frequencies_hz == {0: 1_804_800_000}
    assert "82%" in state.line() and "schedutil" in state.line()
    assert hints(device) == ["airplane mode is off: radios take processor time and heat the phone"]


def test_a_hot_phone_is_waited_for(device, phone):
    thermal = phone.path("/data/system/thermal")
    said, slept = [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        thermal.write_text("2\n" if len(slept) < 3 else "0\n")

    thermal.write_text("3\n")
    assert wait_until_cool(device, said.append, sleep=sleep).thermal == "nominal"
    assert len(slept) == 3 and "is hot" in said[0]
    thermal.write_text("1\n")
    assert wait_until_cool(device, said.append, 20, slept.append).thermal == "fair"
    assert "still fair after 20 s" in said[-1]
    thermal.write_text("0\n")


def settings_of(phone: EmulatedDevice) -> tuple[str, str, str]:
    return (
        phone.setting("global", "stay_on_while_plugged_in"),
        phone.setting("system", "screen_off_timeout"),
        phone.path("/data/system/screen").read_text().strip(),
    )


@pytest.mark.parametrize("error", [None, UserError("x"), KeyboardInterrupt()])
def test_settings_are_put_back(device, phone, error):
    device.run("mkdir", "-p", FOLDER)
    device.run("settings", "delete", "global", "stay_on_while_plugged_in")
    before = settings_of(phone)
    assert before == ("null", "60000", "off")
    try:
        with steady(device, FOLDER, print):
            assert settings_of(phone) == ("15", "1800000", "on")
            if error is not None:
                raise error
    except (UserError, KeyboardInterrupt) as caught:
        assert caught is error
    assert settings_of(phone) == before
    assert not phone.path(f"{FOLDER}/settings.json").exists()


def test_settings_that_a_killed_run_left_are_put_back_by_the_next(device, phone):
    device.run("mkdir", "-p", FOLDER)
    before, said = settings_of(phone), []
    with steady(device, FOLDER, said.append):
        phone.order(unplug=0.5)
    assert len(said) == 1 and "not put back yet" in said[0] and "next run" in said[0]
    assert settings_of(phone) == ("15", "1800000", "on")
    time.sleep(0.6)
    with steady(plug(phone), FOLDER, said.append):
        pass
    assert settings_of(phone) == before and len(said) == 1


def test_a_job_is_pushed_once_and_then_only_what_changed(device, phone, tmp_path):
    job = make_job(tmp_path)
    store = Store(device, FOLDER)
    everything = sum(e.bytes for e in entries_of(job))
    assert store.bring(job) > everything  # and the plan
    on_device = phone.path(store.job_path(job.job.id))
    for entry in entries_of(job):
        assert (on_device / entry.path).read_bytes() == entry.source.read_bytes()
    # Hashes, numbers and the harness's own words are all the names there.
    names = {p.name for p in phone.path(FOLDER).rglob("*")}
    assert all(n.replace(".", "").isalnum() for n in names)
    assert store.bring(job) == 0
    (tmp_path / "resume.json").write_text("{}")
    assert store.bring(job) < 10_000
    # What was damaged there is found by its hash.
    model = phone.path(f"{FOLDER}/blobs/{job.job.files[0].sha256}")
    with model.open("r+b") as f:
        f.write(b"damaged")
    assert store.bring(job) == 300_000
    assert hashlib.sha256((on_device / "models/m.tflite").read_bytes()).hexdigest() == model.name


def test_the_cable_out_in_mid_push_loses_one_batch_at_most(device, phone, tmp_path, monkeypatch):
    monkeypatch.setattr("mobilemod.harness.drivers.adb.store.BATCH_BYTES", 50_000)
    job = make_job(tmp_path, images=60, size=5000)
    phone.order(cut={"direction": "in", "bytes": 400_000, "seconds": 0.5})
    store = Store(device, FOLDER)
    with pytest.raises(DeviceLost):
        store.bring(job)
    time.sleep(0.6)
    store = Store(plug(phone), FOLDER)
    rest = store.bring(job)
    assert 0 < rest < 600_000 - 400_000 + 100_000
    for entry in entries_of(job):
        pushed = phone.path(store.job_path(job.job.id)) / entry.path
        assert pushed.read_bytes() == entry.source.read_bytes()


def test_a_full_disk_is_one_line_and_earlier_jobs_make_room(adb, tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    with emulated(tmp_path / "p", "--no-python", "--disk", "1500000") as phone:
        device = plug(phone)
        store = Store(device, FOLDER)
        store.bring(make_job(small))
        # Fits when the first one's files are gone.
        job = make_job(large, images=40, size=20_000)
        assert store.bring(job) > 1_100_000
        assert len(store.held()) == 40 + 3 + 1
        too_large = make_job(tmp_path / "huge", images=100, size=20_000)
        with pytest.raises(UserError, match=r"full: the job needs 2\.\d MB .* MB are free"):
            store.bring(too_large)
        assert store.free_bytes() > 1_300_000 and store.held() == set()


def test_a_stream_is_followed_over_cuts_and_new_files(device, phone):
    path = phone.path("/data/local/tmp/x.jsonl")
    sent = bytearray()
    writer = Writer("a" * 64, sent.extend)
    follower = Follower(device, "/data/local/tmp/x.jsonl", End("a" * 64))
    assert follower.take() == b""
    for i in range(3):
        writer.line("unreadable", image=i, message="it's")
    # A line that is being written is handed on when it is whole.
    first, second, _ = bytes(sent).splitlines(keepends=True)
    path.write_bytes((first + second)[:-5])
    assert follower.take() == first and follower.take() == b""
    path.write_bytes(sent)
    phone.order(unplug=0.5)
    with pytest.raises(DeviceLost):
        follower.take()
    time.sleep(0.6)
    plug(phone)
    got = follower.take()
    follower.end.note(bytes(sent))
    assert got == sent[len(first) :] and not follower.end.reached
    writer.line("done", answered=0, timed=0, errors=0)
    # A shorter file is a new one; nothing of it is skipped.
    end = bytes(sent).splitlines(keepends=True)[-1]
    path.write_bytes(end)
    assert follower.take() == b"" and follower.take() == end
    follower.end.note(end)
    assert follower.end.reached
    follower.end.forget_runs()
    assert not follower.end.reached


def test_an_answer_without_its_end_is_a_lost_device(device, phone):
    # What goes to stderr, the exit status among it, is there before the cable is pulled.
    phone.order(rate=2000.0, cut={"direction": "out", "bytes": 100, "seconds": 0.3})
    try:
        with pytest.raises(DeviceLost):
            device.run("echo", "x" * 1000)
    finally:
        phone.order(rate=0.0)
    time.sleep(0.4)
    plug(phone)


def test_garbage_for_an_answer_is_a_lost_device(device, phone):
    phone.order(garbage=["stat -c %s", 1])
    with pytest.raises(DeviceLost, match="answers no size"):
        Follower(device, "/data/x", End("a" * 64)).take()


def test_a_device_that_nobody_allowed(adb, tmp_path):
    options = ("--no-python", "--unauthorized")
    refused = pytest.raises(UserError, match=r"is (unauthorized|offline)")
    with emulated(tmp_path, *options) as phone, refused:
        plug(phone)


def test_batches():
    entries = entries_of_sizes([5 << 20, 30 << 20, 1, 40 << 20, 1])
    sizes = [[e.bytes for e in batch] for batch in batched(entries)]
    assert sizes == [[5 << 20], [30 << 20, 1], [40 << 20], [1]]
    assert [len(b) for b in batched(entries_of_sizes([1] * 600))] == [256, 256, 88]


def entries_of_sizes(sizes: list[int]):
    from mobilemod.harness.drivers.adb.store import Entry

    return [Entry(Path("x"), "x", "0" * 64, size) for size in sizes]


def test_output_without_end_and_programs_without_end_are_cut_off():
    with pytest.raises(DeviceLost, match="more than 1 MiB of output"):
        run_bounded(["sh", "-c", "exec cat /dev/zero"], 30, 1 << 20)
    with pytest.raises(DeviceLost, match="no answer within 0 s"):
        run_bounded(["sleep", "60"], 0.2)
    with pytest.raises(UserError, match="can't be run"):
        run_bounded(["/does/not/exist"], 1)
    done = run_bounded(["sh", "-c", "echo a; echo b >&2; exit 3"], 30)
    assert (done.status, done.stdout, done.stderr) == (3, b"a\n", b"b\n")


def test_a_devices_words_cannot_steer_a_terminal():
    assert last_line(b"x\n\x1b]0;owned\x07\x1b[2J line\n\n") == "]0;owned[2J line"
    [listed] = parse_devices("se\x1brial   device model:a\x1b[2Jb")
    assert listed == Listed("serial", "device", "a[2Jb")


def test_two_harnesses_on_one_phone(device):
    with (
        only_this_process(device),
        pytest.raises(UserError, match="another process is measuring on this phone"),
        only_this_process(device),
    ):
        pass


def test_fuzzed_answers_are_read_or_left():
    """What a device prints, bent at random: no reader raises, and none invents a device."""
    from mobilemod.harness.drivers.iphone.devicectl import error_text
    from mobilemod.harness.drivers.iphone.devicectl import parse_devices as parse_phones
    from mobilemod.harness.drivers.iphone.mobiledevice import parse_battery as parse_power

    rng = random.Random(5)
    texts = [
        "List of devices attached\nR5 device usb:1 model:A_B transport_id:1\n",
        "Thermal Status: 3\n",
        "  level: 50\n  scale: 100\n  temperature: 311\n  status: 2\n",
        "zone 41000 cpu\ncpu 0 walt 300000 2000000\n",
        Saved({("system", "screen_off_timeout"): "60000"}, True).dump(),
        (DATA / "devicectl-list.json").read_text(),
        (DATA / "devicectl-locked.json").read_text(),
    ]
    odd = ["\0", "\x1b[2J", "²", "-", "--", "{", '"', "[", "null", "9" * 40, "\n", "\ud800", " "]
    for _ in range(10_000):
        text = rng.choice(texts)
        for _ in range(rng.randrange(1, 6)):
            at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
            text = text[:at] + rng.choice(odd) + text[rng.choice((at, to)) :]
        devices = parse_devices(text)
        assert all(d.serial.isprintable() for d in devices)
        assert parse_thermal(text) in (None, "nominal", "fair", "serious", "critical")
        _, battery = parse_battery(text)
        assert battery is None or 0 <= battery["level"] <= 1
        json.dumps(parse_sysfs(text)[0])
        saved = parse_saved(text)
        assert saved is None or all(v.isprintable() for v in saved.settings.values())
        with contextlib.suppress(ValueError):
            answer = json.loads(text)
            error_text(answer)
            parse_power(answer)
            for key in ("result", "error"):
                parse_phones(answer.get(key) if isinstance(answer, dict) else answer)
