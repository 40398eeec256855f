"""`mobilemod harness serve` as a process, with hostile clients on it and an honest one beside."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.interrupts import interruptible
from tests.tiny_bundle import make_bundle

# The command line, with an app that need not be built.
COMMAND = """
import sys
from pathlib import Path
from mobilemod import cli
from mobilemod.harness import serve
from mobilemod.harness.drivers import browser
browser.default_app = serve.default_app = lambda: Path(sys.argv[1])
sys.exit(cli.main(["harness", "serve", sys.argv[2], "--host", "127.0.0.1", "--port", "0"]))
"""
CLIENT = "0123456789abcdef"


class Process:
    """A running `harness serve`."""

    def __init__(self, folder: Path) -> None:
        app = folder / "app"
        app.mkdir()
        (app / "index.html").write_text("page")
        (app / "large.wasm").write_bytes(bytes(20 << 20))
        bundle = make_bundle(folder / "bundle")
        environment = {k: v for k, v in os.environ.items() if k != "MOBILEMOD_DATA"}
        self.process = interruptible(
            [sys.executable, "-c", COMMAND, str(app), str(bundle)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        said = ""
        while "/?job=" not in said:
            said = self.process.stderr.readline()
            assert said, "it didn't start"
        found = re.search(r"http://127.0.0.1:(\d+)/\?job=(\S+)", said)
        self.port, self.job = int(found[1]), found[2]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def status(self, key: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)[1])

    def get(self, path: str) -> tuple[float, int]:
        """Seconds until the whole answer was there, and its status."""
        start = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as r:
                r.read()
                return time.monotonic() - start, r.status
        except urllib.error.HTTPError as error:
            return time.monotonic() - start, error.code


@pytest.fixture
def served(tmp_path: Path):
    if sys.platform != "linux":
        pytest.skip("memory is read from /proc")
    found = Process(tmp_path)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def hostile(job: str) -> list[tuple[bytes, bytes]]:
    """What each kind sends at once, and then over and over."""

    def post(path: str, length: int) -> bytes:
        return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (
            path.encode(),
            length,
        )

    lines, large = f"{job}lines?client={CLIENT}", b"x" * 65536
    return [
        (post("/job/wrong/lines", 4 << 20), large),
        (post(lines, 4 << 20), b"x"),
        (post(lines, 4 << 20), large),
        (post(lines, 1 << 30), large),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a"),
        (b"GET /large.wasm HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200, b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b""),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
        (b"", b""),
    ]


def attack(served: Process, connections: int, seconds: float) -> tuple[int, int, float]:
    """KiB that the server grew by at most, its threads at most, an honest client's worst wait."""
    before = served.status("VmRSS")
    kinds = hostile(served.job)
    stop = threading.Event()

    def drive(mine: range) -> None:
        open_: list[tuple[socket.socket, bytes]] = []
        for i in mine:
            first, then = kinds[i % len(kinds)]
            with contextlib.suppress(OSError):
                s = socket.create_connection(("127.0.0.1", served.port), 10)
                s.setblocking(False)
                open_.append((s, then))
                s.send(first)
        while not stop.wait(0.2):
            for s, then in open_:
                for _ in range(4):
                    with contextlib.suppress(OSError):
                        s.send(then)
        for s, _ in open_:
            s.close()

    drivers = [threading.Thread(target=drive, args=(range(n, connections, 4),)) for n in range(4)]
    for thread in drivers:
        thread.start()
    grown = threads = 0
    worst = 0.0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for path in ("/", f"{served.job}job.json", f"{served.job}resume.json?client={CLIENT}"):
            waited, status = served.get(path)
            assert status == 200, path
            if waited > 0.5: print(path[-30:], round(waited,2), time.process_time())
            worst = max(worst, waited)
        grown = max(grown, served.status("VmRSS") - before)
        threads = max(threads, served.status("Threads"))
        time.sleep(0.05)
    stop.set()
    for thread in drivers:
        thread.join()
    return grown, threads, worst


@pytest.mark.parametrize(
    "connections", [120, pytest.param(1000, marks=pytest.mark.slow, id="1000")]
)
def test_an_honest_client_is_answered_and_memory_is_bounded(served, connections) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    assert served.get(f"{served.job}resume.json?client={CLIENT}")[1] == 200
    grown, threads, worst = attack(served, connections, 3 if connections < 1000 else 12)
    print(f"{connections} connections: {grown / 1024:.0f} MiB, {threads} threads, {worst:.2f} s")
    assert grown < 100_000
    assert threads < 60
    assert worst < 1.0
    assert served.get("/")[1] == 200


def test_ctrl_c_ends_it_at_once_and_frees_the_port(served) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
    assert served.get(f"{served.job}resume.json?client={CLIENT}")[1] == 200
    start = time.monotonic()
    served.process.send_signal(signal.SIGINT)
    served.process.wait(10)
    assert time.monotonic() - start < 4
    with socket.create_server(("127.0.0.1", served.port)):
        pass
    for s in idle:
        s.close()
