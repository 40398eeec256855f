"""The web app and a job over HTTP, for browsers; docs/harness-protocol.md, "Over HTTP".

What a browser may read is a fixed list of files, made at the start: no path from outside is ever
joined to a folder. What it may write are lines, in pieces of bounded size, handed to whoever asked
for the job.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import queue
import re
import secrets
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs

from mobilemod.errors import UserError
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import JOB_FILE, RESUME_FILE
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import Reader
from mobilemod.harness.run.http_server import JSON, Answer, HttpServer, Request, Work, say

MAX_CLIENTS = 64
# No line of the protocol is shorter; millions of empty ones would take seconds to read.
LEAST_LINE = 32
# A line that must be on disk before its browser hears so; a full disk or a stopped run ends it.
WRITE_SECONDS = 120.0
SLICE = 1 << 16
NO_CLIENT = "0" * 16
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
}
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
READING = ("GET", "HEAD")
NOT_HERE = say(HTTPStatus.NOT_FOUND, "not here")
NOT_ALLOWED = say(HTTPStatus.METHOD_NOT_ALLOWED, "not in this way")
_CLIENT = re.compile(r"[0-9a-f]{16}\Z")

# Takes a stream's bytes as they arrive, as drivers' `receive`.
Receive = Callable[[bytes], None]


class Gone(Exception):
    """Nobody takes this browser's lines any more."""


class Unwelcome(Exception):
    """There is no place for this browser; the message tells its user why, in one line."""


class Channel:
    """One browser's lines: handed over by the server's threads, taken by the driver's own.

    held: what of the job this browser has done, for its `resume.json`.
    """

    def __init__(self, client: str, held: Held):
        self.client, self.held = client, held
        self.open = True
        # Lines on their way to disk, and how that went.
        self._pieces: queue.Queue[tuple[bytes, Future[None]]] = queue.Queue(maxsize=64)
        self._reader = Reader(held.job.id)
        self._lock = threading.Lock()

    def deliver(self, data: bytes) -> None:
        """Returns once `data` is on disk; raises `Gone` where nobody takes it."""
        if not self.open:
            raise Gone
        written: Future[None] = Future()
        try:
            self._pieces.put((data, written), timeout=WRITE_SECONDS)
            written.result(WRITE_SECONDS)
        except (queue.Full, TimeoutError):
            raise Gone from None

    def pump(self, receive: Receive, seconds: float) -> bool:
        """Hand on what arrives within `seconds`; whether anything did. Raises as `receive`."""
        try:
            piece, written = self._pieces.get(timeout=seconds)
        except queue.Empty:
            receive(b"")
            return False
        try:
            # A little at a time: whoever asks for `resume` isn't kept waiting.
            for start in range(0, len(piece), SLICE):
                data = piece[start : start + SLICE]
                receive(data)
                with self._lock:
                    for line in self._reader.feed(data):
                        self.held.add(line)
        except BaseException:
            written.set_exception(Gone())
            raise
        written.set_result(None)
        return True

    @property
    def ended(self) -> bool:
        """Whether the last start said that it is done, or that it can't go on."""
        return self.held.done or self.held.fatal is not None

    def resume(self) -> bytes:
        """`resume.json` as of now."""
        with self._lock:
            return json.dumps(self.held.resume().to_dict()).encode()

    def close(self) -> None:
        """Nothing is taken any more; who waits is told."""
        self.open = False
        with contextlib.suppress(queue.Empty):
            while True:
                self._pieces.get_nowait()[1].set_exception(Gone())


# Gives a browser's channel by its name; `Unwelcome` says why there is none for it.
Welcome = Callable[[str], Channel]


def built_app(app: Path) -> dict[str, Path]:
    """The built web app's files by their path below the page's address.

    Raises `UserError` where it hasn't been built. Its own model isn't handed out: a job has one.
    """
    if not (app / "index.html").is_file():
        raise UserError(f"the web app isn't built ({app} has no index.html); run 'make web'")
    files = {p.relative_to(app).as_posix(): p for p in app.rglob("*") if p.is_file()}
    # A link out of the app's folder would hand out a file of this machine.
    root = app.resolve()
    kept = {
        name: p
        for name, p in files.items()
        if not name.startswith("model/") and p.resolve().is_relative_to(root)
    }
    return {**kept, "": kept["index.html"]}


def default_app() -> Path:
    """Where `make web` builds the app."""
    return Path(__file__).parents[3] / "apps" / "web" / "dist"


class JobServer(HttpServer):
    """Serves one job within its block.

    welcome: see `Welcome`. host: address to listen on. port: 0 for any. app: the built web app.
    Raises `UserError` where the app isn't built or the port is taken.
    """

    def __init__(
        self,
        folder: JobFolder,
        welcome: Welcome,
        host: str = "127.0.0.1",
        port: int = 0,
        app: Path | None = None,
    ):
        self.welcome = welcome
        self.token = secrets.token_urlsafe(24)
        self.app = built_app(app or default_app())
        names = [JOB_FILE, *(path for path, _ in folder.contents())]
        self.job = {name: p for name in names if (p := folder.path(name)).is_file()}
        super().__init__(host, port, self._find, HEADERS)

    def address(self, host: str) -> str:
        """The page's address for a browser that reaches this machine as `host`."""
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/?job=/job/{self.token}/"

    # -- what is where; nothing here waits

    def _find(self, request: Request) -> Answer | Work:
        parts = request.path.split("/", 3)
        if len(parts) == 4 and parts[1] == "job":
            if not hmac.compare_digest(parts[2].encode(), self.token.encode()):
                return NOT_HERE
            return self._find_of_job(request, parts[3])
        path = request.path.removeprefix("/")
        if path not in self.app:
            return NOT_HERE
        lasting = path.startswith(("assets/", "wasm/"))
        keep = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return _file(request, self.app[path], keep)

    def _find_of_job(self, request: Request, name: str) -> Answer | Work:
        if name == "lines" and request.method == "POST":
            return self._with_channel(request, _deliver, takes_body=True)
        if name == RESUME_FILE and request.method in READING:
            return self._with_channel(
                request, lambda channel, _: Answer(HTTPStatus.OK, channel.resume(), JSON)
            )
        if name in self.job:
            return _file(request, self.job[name], "no-store")
        return NOT_ALLOWED if name in ("lines", RESUME_FILE) else NOT_HERE

    def _with_channel(
        self, request: Request, act: Callable[[Channel, bytes], Answer], takes_body: bool = False
    ) -> Answer | Work:
        try:
            client = parse_qs(request.query, max_num_fields=8).get("client", [NO_CLIENT])[0]
        except ValueError:
            client = ""
        if not _CLIENT.match(client):
            return say(HTTPStatus.BAD_REQUEST, "client must be 16 hex digits")

        def run(body: bytes) -> Answer:
            try:
                return act(self.welcome(client), body)
            except Unwelcome as error:
                return say(HTTPStatus.CONFLICT, str(error))

        return Work(run, takes_body)


def _deliver(channel: Channel, body: bytes) -> Answer:
    if body.count(b"\n") > 16 + len(body) // LEAST_LINE:
        return say(HTTPStatus.BAD_REQUEST, "these are no lines of a job")
    try:
        channel.deliver(body)
    except Gone:
        return say(HTTPStatus.GONE, "this job has ended; start it again and open the new address")
    received = json.dumps({"received": body.count(b"\n")}).encode()
    return Answer(HTTPStatus.OK, received, JSON)


def _file(request: Request, path: Path, keep: str) -> Answer:
    if request.method not in READING:
        return NOT_ALLOWED
    return Answer(HTTPStatus.OK, path, TYPES.get(path.suffix, "application/octet-stream"), keep)


def lan_address() -> str:
    """This machine's address in the local network; 127.0.0.1 where there is none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        # Nothing is sent: this asks which of its addresses the system would use.
        s.connect(("192.0.2.1", 9))
        return s.getsockname()[0]
    return "127.0.0.1"


def qr_code(text: str) -> str:
    """`text` as a QR code of block characters, for a terminal."""
    import segno

    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, compact=True)
    return out.getvalue()
