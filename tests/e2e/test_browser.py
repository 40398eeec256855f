"""Jobs in a real browser: the built app in headless Chromium, closed in between, two at once."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.verbs.main import main
from mobilemod.data.imagefolder import ImageFolder, read_split
from mobilemod.harness.drivers import browser as driver_module
from mobilemod.harness.drivers.browser import BrowserDriver, find_binary, headless
from mobilemod.harness.run import browsers
from mobilemod.harness.run.browsers import ServeConfig, serve_browsers
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.run.session import Session, read_lines
from mobilemod.harness.run.validate import QUICK, DeviceConfig
from mobilemod.harness.run.web_app import default_app
from mobilemod.manifest import load_bundle
from tests.tiny_bundle import IDS, make_bundle

pytestmark = [pytest.mark.slow, pytest.mark.alone]
IMAGES = 30


@pytest.fixture(autouse=True)
def ready() -> None:
    if find_binary() is None or not (default_app() / "index.html").is_file():
        pytest.skip("needs a Chromium and the built web app; 'make test-apps' gets both")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def images(data_dir: Path) -> ImageFolder:
    return read_split(data_dir, "val", IDS, len(IDS)).spread(IMAGES)


def test_closed_in_mid_job_it_goes_on_at_the_last_image(
    bundle: Path, images: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def watched(binary: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
        with headless(binary, address) as process:
            started.append(process)
            yield process

    monkeypatch.setattr(driver_module, "headless", watched)
    driver = BrowserDriver()
    folder = build_job(load_bundle(bundle), images, driver, Plan(latency=None), tmp_path / "job")
    out = tmp_path / "run"
    session = Session(driver, folder.folder, out, pauses=(0.0,))
    receive = session._receive

    def close_after_ten(data: bytes) -> None:
        receive(data)
        if len(started) == 1 and len(session.held.answered.get("tiny_int8.tflite", ())) >= 10:
            started[0].kill()

    session._receive = close_after_ten  # type: ignore[method-assign]
    result = session.run()
    assert result.complete, result
    assert result.starts == 2
    assert "the browser ended" in result.lost[0]
    lines, reader, held, impossible = read_lines(out / "lines.jsonl", folder.folder.job)
    answers = Counter(
        (line["configuration"], line["image"]) for line in lines if line.type == "image"
    )
    assert set(answers.values()) == {1}
    assert len(answers) == 2 * IMAGES
    assert (reader.counts["damaged"], impossible, held.open_phases()) == (0, 0, set())
    runs = [line.run for line in lines if line.type == "image"]
    assert 10 <= runs.count(runs[0]) < 2 * IMAGES
    assert len(set(runs)) == 2


def test_bench_times_files_in_the_browser(bundle: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["bench", str(bundle), "--device", "browser", "--runs", "5", "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [f["file"] for f in record["files"]] == ["tiny_int8.tflite", "tiny_float32.tflite"]
    for file in record["files"]:
        assert "LiteRT" in file["runtime"]
        assert file["latency"]["runs"] == 5 and file["latency"]["min_ms"] > 0
        # Chromium's WASM and this machine's kernels differ by rounding alone.
        assert file["logits"]["count"] == len(IDS) and file["logits"]["max_difference"] < 0.5
    (pair,) = record["comparisons"]
    assert (pair["int8"], pair["float"]) == ("tiny_int8.tflite", "tiny_float32.tflite")


def test_two_browsers_at_once_each_get_their_own_record(
    bundle: Path, images: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.measure.device_host import BundleHost

    addresses: list[str] = []
    monkeypatch.setattr(
        browsers, "announce", lambda server, host: addresses.append(server.address(host))
    )
    monkeypatch.setattr(BundleHost, "answers", _no_reference)
    until = threading.Event()
    seen: list[dict] = []
    config = ServeConfig(
        DeviceConfig(bundle, ("browser",), images, True, Plan(latency=QUICK)),
        host="127.0.0.1",
        port=0,
        tell=seen.append,
    )
    records: list[dict] = []
    server = threading.Thread(
        target=lambda: records.extend(serve_browsers(config, BundleHost, until))
    )
    server.start()
    try:
        _wait(lambda: bool(addresses) or not server.is_alive(), 600)
        binary = find_binary()
        with headless(binary, addresses[0]), headless(binary, addresses[0]):
            _wait(lambda: len(seen) == 2 or not server.is_alive(), 900)
    finally:
        until.set()
        server.join()
    assert len(records) == 2
    names = {record["device"]["name"] for record in records}
    assert len(names) == 2
    assert all(re.fullmatch(r"browser:[0-9a-f]{16}", name) for name in names)
    for record in records:
        assert record["complete"]
        assert record["counts"]["answered"] == 2 * IMAGES
        assert record["counts"]["missing"] == 0
        assert json.dumps(record)
        for file in record["files"]:
            assert file["self_test"]["verdict"] == "right"


def _no_reference(self, files):
    """The tiny bundle has no float network; its files' own answers stand for it."""
    import numpy as np

    from mobilemod.harness.record.host_side import HostAnswers

    kept = self._images
    pixels = []
    from PIL import Image

    for sample in kept.samples:
        with Image.open(sample.path) as image:
            pixels.append(self._bundle.preprocess(image))
    x = np.stack(pixels)
    answers = {file: self.run(file, x) for file in files}
    names = tuple(kept.name(i) for i in range(len(kept.samples)))
    return HostAnswers(names, answers["tiny_float32.tflite"], answers)


def _wait(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)
    assert condition(), f"not within {seconds} s"
