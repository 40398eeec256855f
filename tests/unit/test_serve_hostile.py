"""`mobilemod harness serve` as a process, with hostile clients on it and an honest one beside."""

from __future__ import annotations

import os
import re
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

pytestmark = pytest.mark.alone

# The command line, with an app that need not be built.
COMMAND = """
import sys
from pathlib import Path
from export.verbs import main as cli
from mobilemod.harness.run import serve
from mobilemod.harness.drivers import browser
browser.default_app = serve.default_app = lambda: Path(sys.argv[1])
sys.exit(cli.main(["harness", "serve", sys.argv[2], "--host", "127.0.0.1", "--port", "0",
                   "--audit-only"]))
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


# A process of its own, so that it takes none of the honest client's time: arguments are the port,
# the job's path, how many connections, and the kinds of them. A line says that all were opened.
HOSTILE = """
import contextlib, resource, socket, sys, time
port, job, connections, chosen = int(sys.argv[1]), sys.argv[2].encode(), *map(int, sys.argv[3:])
def post(path, length):
    return b"POST %s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % (path, length)
lines, large = job + b"lines?client=0123456789abcdef", b"x" * 65536
get = b"GET %s HTTP/1.1\\r\\nHost: x\\r\\n"
kinds = [
    (post(b"/job/wrong/lines", 4 << 20), large),
    (post(lines, 4 << 20), b"x"),
    (post(lines, 4 << 20), large),
    (post(lines, 1 << 30), large),
    (get % b"/", b"a"),
    (get % b"/large.wasm" + b"\\r\\n", b""),
    ((get % b"/" + b"\\r\\n") * 200, b""),
    (b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03" + bytes(200), b""),
    (b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n", b""),
    (b"", b""),
    (post(lines, 4 << 20), b"\\n" * 65536),
]
if chosen >= 0:
    kinds = kinds[chosen : chosen + 1]
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
opened = []
for i in range(connections):
    first, then = kinds[i % len(kinds)]
    with contextlib.suppress(OSError):
        s = socket.create_connection(("127.0.0.1", port), 10)
        s.setblocking(False)
        opened.append((s, then))
        s.send(first)
print("opened", len(opened), flush=True)
while True:
    for s, then in opened:
        with contextlib.suppress(OSError):
            s.send(then)
    time.sleep(0.05)
"""


def attack(
    served: Process, connections: int, seconds: float, kind: int = -1
) -> tuple[int, int, list[float]]:
    """KiB that the server grew by at most, most threads, an honest client's waits, sorted."""
    before = served.status("VmRSS")
    words = (str(served.port), served.job, str(connections), str(kind))
    command = [sys.executable, "-c", HOSTILE, *words]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    grown = threads = 0
    waits = []
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for path in ("/", f"{served.job}job.json", f"{served.job}resume.json?client={CLIENT}"):
                waited, status = served.get(path)
                assert status == 200, path
                waits.append(waited)
            grown = max(grown, served.status("VmRSS") - before)
            threads = max(threads, served.status("Threads"))
            time.sleep(0.05)
    finally:
        attacker.kill()
        assert attacker.stdout.read() == f"opened {connections}\n"
        attacker.wait()
    return grown, threads, sorted(waits)


@pytest.mark.parametrize(
    "connections", [120, pytest.param(1000, marks=pytest.mark.slow, id="1000")]
)
def test_an_honest_client_is_answered_and_memory_is_bounded(served, connections) -> None:
    assert served.get(f"{served.job}resume.json?client={CLIENT}")[1] == 200
    grown, threads, waits = attack(served, connections, 3 if connections < 1000 else 12)
    late = waits[len(waits) * 19 // 20]
    times = f"95 % within {late:.2f} s, all within {waits[-1]:.2f} s"
    print(f"{connections} connections: {grown / 1024:.0f} MiB, {threads} threads, {times}")
    assert grown < 100_000
    assert threads < 60
    # On an idle machine all are within the second.
    assert late < 1.0 and waits[-1] < 2.0
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
