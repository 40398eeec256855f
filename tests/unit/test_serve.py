"""The server of jobs over HTTP: what it hands out, what it takes, what it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mobilemod.apps import APPS, put_in_apps
from mobilemod.errors import UserError
from mobilemod.harness.drivers import get_driver
from mobilemod.harness.drivers.browser import BrowserDriver, Seat
from mobilemod.harness.protocol.job import Resume
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import Writer
from mobilemod.harness.run.http_server import Limits
from mobilemod.harness.run.job_build import Plan, build_job
from mobilemod.harness.run.serve import WRONG_CODES, JobServer, qr_code
from mobilemod.harness.run.web_app import built_app
from mobilemod.manifest import load_bundle
from tests.tiny_bundle import make_bundle

pytestmark = pytest.mark.alone

CLIENT, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built app, small."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "assets").mkdir()
    (folder / "model").mkdir()
    (folder / "index.html").write_text("<p>page</p>", "utf-8")
    (folder / "assets" / "main.js").write_text("1", "utf-8")
    (folder / "model" / "manifest.json").write_text("{}", "utf-8")
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, app: Path) -> JobFolder:
    """A job of the tiny bundle without images."""
    folder = tmp_path_factory.mktemp("job")
    bundle = load_bundle(make_bundle(folder / "bundle"))
    return build_job(bundle, None, BrowserDriver(True, app), Plan(), folder / "job").folder


@dataclass
class Served:
    """A running server whose lines go to `received`."""

    server: JobServer
    seat: Seat
    received: list[bytes]

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def job_path(self, name: str) -> str:
        return f"/job/{self.server.token}/{name}"


@pytest.fixture
def served(job: JobFolder, app: Path) -> Iterator[Served]:
    seat = Seat(job, Resume(job.job.id))
    received: list[bytes] = []
    stop = threading.Event()

    def take() -> None:
        while not stop.is_set():
            seat.channel.pump(received.append, 0.02)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        with JobServer(job, seat.welcome, app=app) as server:
            yield Served(server, seat, received)
    finally:
        stop.set()
        thread.join()


def lines(job: JobFolder, *kinds: str) -> bytes:
    """Lines of one run, as a browser posts them."""
    written: list[bytes] = []
    writer = Writer(job.job.id, written.append)
    facts = {"kind": "browser"}
    more = {
        "hello": {"protocol": "x", "device": facts, "app": facts, "runtimes": facts},
        "finished": {"configuration": 0, "phase": "golden"},
        "done": {"answered": 0, "timed": 0, "errors": 0},
    }
    for kind in kinds:
        writer.line(kind, **more[kind])
    return b"".join(written)


def test_files_of_the_app_and_the_job_with_isolation(served: Served, job: JobFolder) -> None:
    for path, content in {
        "/": b"<p>page</p>",
        "/index.html": b"<p>page</p>",
        "/assets/main.js": b"1",
        served.job_path("job.json"): (job.folder / "job.json").read_bytes(),
        served.job_path("golden/0.png"): (job.folder / "golden/0.png").read_bytes(),
        served.job_path("models/tiny_int8.tflite"): (
            job.folder / "models/tiny_int8.tflite"
        ).read_bytes(),
    }.items():
        status, headers, body = served.ask("GET", path)
        assert (status, body) == (200, content), path
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        status, headers, body = served.ask("HEAD", path)
        assert (status, headers["Content-Length"], body) == (200, str(len(content)), b"")


def test_what_was_compressed_at_the_build_goes_out_so_to_who_takes_it(
    job: JobFolder, tmp_path: Path
) -> None:
    (tmp_path / "wasm").mkdir()
    for name, text in {
        "index.html": "page",
        "wasm/run.wasm": "plain",
        "wasm/run.wasm.gz": "g",
        "wasm/run.wasm.br": "b",
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    seat = Seat(job, Resume(job.job.id))
    with JobServer(job, seat.welcome, app=tmp_path) as server:
        served = Served(server, seat, [])
        for accepted, encoding, content in (
            ("gzip, deflate, br", "br", b"b"),
            ("gzip, deflate", "gzip", b"g"),
            ("br;q=0, gzip;q=0.5", "gzip", b"g"),
            ("gzip; q=0", None, b"plain"),
            ("", None, b"plain"),
        ):
            headers = {"Accept-Encoding": accepted}
            status, found, body = served.ask("GET", "/wasm/run.wasm", headers=headers)
            assert (status, body) == (200, content), accepted
            assert found.get("Content-Encoding") == encoding
            assert (found["Content-Type"], found["Vary"]) == ("application/wasm", "Accept-Encoding")
        # What was not compressed has no variants.
        assert "Vary" not in served.ask("GET", "/", headers={"Accept-Encoding": "gzip"})[1]


def test_a_typed_code_leads_to_the_job_and_cannot_be_guessed(served: Served) -> None:
    server = served.server
    assert server.typed_address("1.2.3.4") == f"http://1.2.3.4:{server.port}/{server.code}"
    status, headers, _ = served.ask("GET", f"/{server.code}")
    assert (status, headers["Location"]) == (303, f"/?job=/job/{server.token}/")
    assert json.loads(served.ask("GET", "/harness.json")[2]) == {
        "schema": "mobilemod/harness-page/1"
    }
    wrong = next(c for c in ("11111111", "22222222") if c != server.code)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(WRONG_CODES):
        connection.request("GET", f"/{wrong}")
        response = connection.getresponse()
        response.read()
        assert (response.status, response.headers["Location"]) == (303, "/?code=wrong")
    connection.close()
    # From here on nobody finds out, not even who has it; the long address is as good as before.
    assert served.ask("GET", f"/{server.code}")[1]["Location"] == "/?code=wrong"
    assert served.ask("GET", served.job_path("job.json"))[0] == 200


def test_only_listed_files_and_only_with_the_token(served: Served, job: JobFolder) -> None:
    (job.folder / "secret.txt").write_text("x", "utf-8")
    token = served.server.token
    for path in (
        "/model/manifest.json",
        "/../index.html",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        served.job_path("secret.txt"),
        served.job_path("../job/job.json"),
        served.job_path("models/../job.json"),
        served.job_path("models/%2e%2e/job.json"),
        served.job_path("/etc/passwd"),
        served.job_path(""),
        f"/job/{token[:-1]}/job.json",
        f"/job/{token}x/job.json",
        "/job//job.json",
        "/etc/passwd",
    ):
        assert served.ask("GET", path)[0] == 404, path
    assert served.ask("POST", "/job/wrong/lines", b"x\n")[0] == 404
    assert served.ask("POST", served.job_path("job.json"), b"x\n")[0] == 405
    assert served.ask("PUT", served.job_path("job.json"), b"x\n")[0] == 405
    assert served.received == [] or set(served.received) == {b""}


def test_lines_are_taken_and_resume_follows(served: Served, job: JobFolder) -> None:
    data = lines(job, "hello", "finished")
    status, _, body = served.ask("POST", served.job_path(f"lines?client={CLIENT}"), data)
    assert (status, json.loads(body)) == (200, {"received": 2})
    assert b"".join(served.received) == data
    resume = json.loads(served.ask("GET", served.job_path(f"resume.json?client={CLIENT}"))[2])
    assert resume["finished"] == [[0, "golden"]]
    assert not served.seat.channel.ended
    served.ask("POST", served.job_path(f"lines?client={CLIENT}"), lines(job, "hello", "done"))
    assert served.seat.channel.ended


def test_one_browser_at_a_time_until_it_falls_silent(served: Served, job: JobFolder) -> None:
    data = lines(job, "hello")
    assert served.ask("POST", served.job_path(f"lines?client={CLIENT}"), data)[0] == 200
    status, _, body = served.ask("POST", served.job_path(f"lines?client={OTHER}"), data)
    assert (status, body) == (409, b"another browser is working on this job\n")
    assert served.ask("GET", served.job_path(f"resume.json?client={OTHER}"))[0] == 409
    served.seat.patience = 0
    assert served.ask("POST", served.job_path(f"lines?client={OTHER}"), data)[0] == 200


def test_sizes_and_names_are_bounded(served: Served) -> None:
    path = served.job_path(f"lines?client={CLIENT}")
    assert served.ask("POST", path, None, {"Content-Length": str(Limits.body + 1)})[0] == 413
    assert served.ask("POST", path, None, {"Content-Length": "9" * 400})[0] == 400
    assert served.ask("POST", path, None, {"Content-Length": "-1"})[0] == 400
    assert served.ask("POST", path, None, {"Content-Length": "1_0"})[0] == 400
    for client in ("", "x", CLIENT.upper(), CLIENT + "0", "../../../../../../", "%00"):
        if client:
            name = served.job_path(f"lines?client={client}")
            assert served.ask("POST", name, b"x\n")[0] == 400, client


def test_a_full_disk_is_no_answer(job: JobFolder, app: Path) -> None:
    """The browser must keep lines that weren't written."""
    seat = Seat(job, Resume(job.job.id))
    failures: list[OSError] = []

    def refuse(data: bytes) -> None:
        if data:
            raise OSError(28, "No space left on device")

    def take() -> None:
        try:
            while True:
                seat.channel.pump(refuse, 0.05)
        except OSError as error:
            failures.append(error)

    with JobServer(job, seat.welcome, app=app) as server:
        thread = threading.Thread(target=take)
        thread.start()
        data = lines(job, "hello")
        served = Served(server, seat, [])
        assert served.ask("POST", served.job_path(f"lines?client={CLIENT}"), data)[0] == 410
        thread.join()
        seat.channel.close()
        assert served.ask("POST", served.job_path(f"lines?client={CLIENT}"), data)[0] == 410
    assert len(failures) == 1
    assert not seat.channel.held.finished


def test_garbage_neither_stops_the_server_nor_gets_a_file(served: Served, job: JobFolder) -> None:
    rng = random.Random(5)
    pieces = [
        b"job", served.server.token.encode(), b"lines", b"..", b".", b"%2e%2e", b"%00", b"\\",
        b"models", b"job.json", b"resume.json", b"?client=", CLIENT.encode(), b"//", b"assets",
        b"main.js", "ä".encode(), b"a" * 3000, b"\r\n", b" ",
    ]  # fmt: skip
    expected = [(job.folder / "job.json").read_bytes(), b"1", b"<p>page</p>"]
    statuses = set()
    for _ in range(1500):
        path = b"/" + b"/".join(rng.choices(pieces, k=rng.randint(1, 5)))
        body = rng.randbytes(rng.randint(0, 200))
        length = rng.choice([len(body), 0, -1, 10**9])
        request = (
            b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            % (
                rng.choice([b"GET", b"POST", b"HEAD", rng.randbytes(4)]),
                path,
                length,
                body,
            )
        )
        if rng.random() < 0.1:
            request = rng.randbytes(100)
        status, content = raw(served.server.port, request)
        statuses.add(status)
        assert status in (0, 200, 400, 404, 405, 409, 411, 413, 414, 431, 501, 505), request
        if status == 200 and content:
            assert content in expected or content.startswith((b'{"received"', b'{"schema"')), path
    assert {200, 400, 404} <= statuses
    assert served.ask("GET", "/")[0] == 200
    assert not served.seat.channel.held.finished


def raw(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and body of what comes back for some bytes; status 0: nothing did."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        while data := s.recv(1 << 16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    parts = head.split(b" ", 2)
    known = head.startswith(b"HTTP/1.") and len(parts) > 1
    return (int(parts[1]) if known else 0), body


def test_an_app_that_is_not_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run 'make web'"):
        built_app(tmp_path)
    with pytest.raises(UserError, match="run 'make web'"):
        BrowserDriver(phone=True, app=tmp_path).check()


def test_a_port_that_is_taken_is_named(job: JobFolder, app: Path) -> None:
    seat = Seat(job, Resume(job.job.id))
    with (
        JobServer(job, seat.welcome, app=app) as server,
        pytest.raises(UserError, match="--port"),
    ):
        JobServer(job, seat.welcome, port=server.port, app=app)


def test_which_browser(monkeypatch: pytest.MonkeyPatch, app: Path) -> None:
    monkeypatch.setenv("CHROME", "/nowhere/chrome")
    with pytest.raises(UserError, match="CHROME=/nowhere/chrome"):
        BrowserDriver(app=app).check()
    assert BrowserDriver(phone=True, app=app).most_threads == 1
    assert get_driver("browser:phone").suffixes() == (".tflite",)
    with pytest.raises(UserError, match="browser:phone"):
        get_driver("browser:x")


def test_a_qr_code_has_its_modules() -> None:
    rows = qr_code("http://192.168.1.2:8765/?job=/job/abc/").splitlines()
    assert len(rows) > 10
    assert len({len(row) for row in rows if row.strip()}) <= 3


def test_the_ios_app_has_a_case_for_each_target_that_it_gets() -> None:
    loader = Path(__file__).parents[2] / "apps/ios/App/Sources/Engines/EngineLoader.swift"
    missing = [t for t in APPS["ios"].targets if f'"{t}"' not in loader.read_text("utf-8")]
    assert not missing


def test_apps_get_what_they_run(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    root = tmp_path / "apps"
    (root / "web" / "dist").mkdir(parents=True)
    (root / "android").mkdir()
    old = root / APPS["web"].folder / "old.tflite"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    record = put_in_apps(bundle, ("web", "android"), root)
    names = ["tiny_int8.tflite", "tiny_float32.tflite"]
    assert [(e["app"], e["files"]) for e in record["apps"]] == [("web", names), ("android", names)]
    for folder in (APPS["web"].folder, "web/dist/model", APPS["android"].folder):
        there = {
            p.relative_to(root / folder).as_posix()
            for p in (root / folder).rglob("*")
            if p.is_file()
        }
        assert there == {"manifest.json", "golden/0.png", "golden/1.png", *names}
        for name in there - {"manifest.json"}:
            assert (root / folder / name).read_bytes() == (bundle / name).read_bytes()
        assert [e.file for e in load_bundle(root / folder).manifest.files] == names
    with pytest.raises(UserError, match="no file for the ios app"):
        (root / "ios").mkdir()
        put_in_apps(bundle, ("ios",), root)
    with pytest.raises(UserError, match="known: web"):
        put_in_apps(bundle, ("tv",), root)
