"""The report over all devices: whole, self-contained, with the records' own figures."""

from __future__ import annotations

import copy
import csv
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.run.validate import validate_devices
from mobilemod.results.device.kept import latest_records, read_records, write_tables
from mobilemod.results.device.plot import log_scale
from mobilemod.results.device.rows_csv import columns
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page, report_path
from mobilemod.sealed import sealed
from mobilemod.tasks.classification import TASK
from tests.harness.conftest import PLAN, Host
from tests.harness.test_session import config


@pytest.fixture(scope="module")
def devices(tiny_source, images, tmp_path_factory) -> Path:
    """The `devices/` of a bundle that two devices measured, one of them twice."""
    tiny = tmp_path_factory.mktemp("report") / "bundle"
    shutil.copytree(tiny_source, tiny)
    plan = replace(PLAN, threads=(1, 2), sustained_seconds=0.4)
    for names in (("host", "adb:X1"), ("host",)):
        both = replace(config(tiny, images, *names), plan=plan)
        validate_devices(both, Host, lambda _: HostDriver())
    return tiny / "devices"


@pytest.fixture
def html(devices):
    """The bundle's report."""
    return report_path(devices.parent).read_text("utf-8")


def page_over(folder: Path, model: str = "tiny") -> str:
    """The page over the records in a `devices/` folder alone."""
    records = read_records(folder)
    latest = tuple(latest_records(records).values())
    return page(Known(model, TASK, devices=latest, records=tuple(records)))


@pytest.fixture
def records(devices):
    return json.loads((devices / "report.json").read_text())["records"]


class Outline(HTMLParser):
    """Tags that are open, headings, and everything that a page would fetch."""

    VOID = {"meta", "br", "img", "wbr"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, name, attributes):
        self.tags.add(name)
        self.fetched += [v or "" for k, v in attributes if k in ("src", "href", "action")]
        self.fetched = [v for v in self.fetched if not v.startswith("#")]
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


def test_the_page_is_whole_and_fetches_nothing(html):
    outline = Outline()
    outline.feed(html)
    assert outline.open == [] and outline.fetched == []
    assert not outline.tags & {"script", "link", "iframe", "img"}
    assert outline.headings == [
        "tflite int8", "On devices", "The devices", "Self-test by unit", "Accuracy over latency",
        "Accuracy", "Latency",
        "int8 against its float twin", "After heating up", "Where the ops ran",
        "What was sent and what came back", "History",
    ]  # fmt: skip


def measured(file):
    return [c for c in file["configurations"] if not c["self_test_only"]]


def test_every_figure_of_a_record_is_on_the_page(html, records):
    text = html
    assert {r["device"]["name"] for r in records} == {"adb:X1", "host"}
    for record in records:
        assert record["device"]["name"] in text
        for file in record["files"]:
            assert f"{file['accuracy']['top1_percent']:.2f}" in text
            for c in measured(file):
                for key in ("p50_ms", "p90_ms", "p99_ms", "min_ms", "mean_ms", "max_ms"):
                    assert f"{c['latency'][key]:.2f}" in text
                assert c["sustained"]["curve"]
                assert f"{c['sustained']['loss_percent']:+.1f}" in text


def test_the_csv_has_a_row_per_record_file_and_configuration(devices, records):
    rows = list(csv.DictReader(io.StringIO((devices / "report.csv").read_text())))
    assert len(rows) == 3 * 2 * 3 and tuple(rows[0]) == columns(TASK)
    host = next(r for r in records if r["device"]["name"] == "host")
    mine = [r for r in rows if r["device"] == "host" and r["started"] == host["started"]]
    file = host["files"][0]
    found = [r for r in mine if r["file"] == file["file"] and r["threads"] == "2"]
    assert float(found[-1]["p90_ms"]) == file["configurations"][1]["latency"]["p90_ms"]
    assert float(found[-1]["drop"]) == file["accuracy"]["drop"]["points"]


def test_sustained_compares_the_ends(records):
    for record in records:
        for file in record["files"]:
            for c in measured(file):
                s = c["sustained"]
                assert s["seconds"] > 0 and s["window_seconds"] == s["seconds"] / 2
                ratio = s["last_p50_ms"] / s["first_p50_ms"]
                assert s["loss_percent"] == pytest.approx(100 * (ratio - 1))


def test_what_is_broken_is_left_out_and_text_stays_text(devices, records, tmp_path):
    folder = tmp_path / "devices"
    shutil.copytree(devices, folder)
    (folder / "host" / "broken").mkdir()
    (folder / "host" / "broken" / "record.json").write_text('{"schema": ')
    (folder / "other" / "t").mkdir(parents=True)
    hostile = copy.deepcopy(records[0])
    hostile["device"]["name"] = "<img src=x onerror=alert(1)>"
    hostile["files"][0]["file"] = '"><script>'
    (folder / "other" / "t" / "record.json").write_text(json.dumps(sealed(hostile)))
    text = page_over(folder, "<b>tiny</b>")
    outline = Outline()
    outline.feed(text)
    assert outline.open == [] and not outline.tags & {"script", "img"}
    assert "&lt;img src=x onerror=alert(1)&gt;" in text and "&lt;b&gt;tiny" in text


def test_a_record_that_was_changed_is_left_out_and_said(devices, records, tmp_path, capsys):
    folder = Path(shutil.copytree(devices, tmp_path / "devices"))
    path = max(folder.glob("host/*/record.json"))
    record = json.loads(path.read_text())
    record["files"][0]["sha256"] = "e" * 64
    path.write_text(json.dumps(record))
    write_tables(folder)
    assert f"{path} was changed after it was written" in capsys.readouterr().err
    assert "e" * 64 not in (folder / "report.json").read_text()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda r: r["counts"].update(anwsered=1), "counts.anwsered is not a key of it"),
        (lambda r: r["counts"].pop("answered"), "counts.answered is missing"),
        (lambda r: r["files"][0].update(bytes="9"), "files[0].bytes: input should be a valid int"),
        (lambda r: r["files"][0]["configurations"][0]["latency"].update(p90_ms=-1.0),
         "files[0].configurations[0].latency.p90_ms: input should be greater than or equal to 0"),
    ],
)  # fmt: skip
def test_a_record_of_another_form_is_left_out_and_said(records, tmp_path, capsys, changed, said):
    record = copy.deepcopy(records[0])
    record["files"][0]["only_a_driver_knows"] = {"of": 1}
    path = tmp_path / "devices" / "host" / "t" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sealed(record)))
    assert read_records(tmp_path / "devices") == [sealed(record)]
    changed(record)
    path.write_text(json.dumps(sealed(record)))
    assert read_records(tmp_path / "devices") == []
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"{path}: {said}")


def test_nothing_measured_is_a_page_too(tmp_path):
    text = page_over(tmp_path)
    assert "Don&#x27;t ship it" in text and "What int8 costs was never measured" in text


def test_log_scale_holds_its_values():
    for values in ([5.0], [0.01, 900.0], [3.0, 3.1], [0.0, 2.0]):
        x_of, ticks = log_scale(values)
        assert ticks and all(8 <= x_of(v) <= 98 for v in [*values, *ticks])
        assert x_of(max(values)) >= x_of(min(values))
