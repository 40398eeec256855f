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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mobilemod.errors import UserError
from mobilemod.harness.held import Held
from mobilemod.harness.job import JOB_FILE, RESUME_FILE, JobFolder
from mobilemod.harness.protocol import Reader

MAX_BODY = 4 << 20
MAX_CLIENTS = 64
SOCKET_SECONDS = 60.0
# A line that must be on disk before its browser hears so; a full disk or a stopped run ends it.
WRITE_SECONDS = 120.0
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
_CLIENT = re.compile(r"[0-9a-f]{16}\Z")

# Takes a stream's bytes as they arrive, as drivers' `receive`.
Receive = Callable[[bytes], None]


class Gone(Exception):
    """Nobody takes this browser's lines any more."""


@dataclass
class _Piece:
    """Lines on their way to disk, and how that went."""

    data: bytes
    written: threading.Event = field(default_factory=threading.Event)
    failed: bool = False


class Channel:
    """One browser's lines: handed over by the server's threads, taken by the driver's own.

    held: what of the job this browser has done, for its `resume.json`.
    """

    def __init__(self, client: str, held: Held):
        self.client, self.held = client, held
        self.open = True
        self._pieces: queue.Queue[_Piece] = queue.Queue(maxsize=64)
        self._reader = Reader(held.job.id)
        self._lock = threading.Lock()

    def deliver(self, data: bytes) -> None:
        """Returns once `data` is on disk; raises `Gone` where nobody takes it."""
        piece = _Piece(data)
        with contextlib.suppress(queue.Full):
            if self.open:
                self._pieces.put(piece, timeout=WRITE_SECONDS)
                piece.written.wait(WRITE_SECONDS)
        if not piece.written.is_set() or piece.failed:
            raise Gone

    def pump(self, receive: Receive, seconds: float) -> bool:
        """Hand on what arrives within `seconds`; whether anything did. Raises as `receive`."""
        try:
            piece = self._pieces.get(timeout=seconds)
        except queue.Empty:
            receive(b"")
            return False
        try:
            receive(piece.data)
            with self._lock:
                for line in self._reader.feed(piece.data):
                    self.held.add(line)
        except BaseException:
            piece.failed = True
            raise
        finally:
            piece.written.set()
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
                piece = self._pieces.get_nowait()
                piece.failed = True
                piece.written.set()


# Gives a browser's channel by its name, or None where it isn't wanted (another one works).
Welcome = Callable[[str], Channel | None]


def built_app(app: Path) -> dict[str, Path]:
    """The built web app's files by their path below the page's address.

    Raises `UserError` where it hasn't been built. Its own model isn't handed out: a job has one.
    """
    if not (app / "index.html").is_file():
        raise UserError(f"the web app isn't built ({app} has no index.html); run 'make web'")
    files = {p.relative_to(app).as_posix(): p for p in app.rglob("*") if p.is_file()}
    kept = {name: p for name, p in files.items() if not name.startswith("model/")}
    return {**kept, "": kept["index.html"]}


def default_app() -> Path:
    """Where `make web` builds the app."""
    return Path(__file__).parents[2] / "apps" / "web" / "dist"


class JobServer:
    """Serves one job until it is closed.

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
        try:
            self._server = _Server((host, port), _handler(self))
        except OSError as error:
            raise UserError(
                f"port {port} of {host} can't be used ({error.strerror}); give another --port"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def address(self, host: str) -> str:
        """The page's address for a browser that reaches this machine as `host`."""
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/?job=/job/{self.token}/"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def serving(server: JobServer) -> Iterator[JobServer]:
    """Started, and closed at the end."""
    server.start()
    try:
        yield server
    finally:
        server.close()


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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in mid-answer is nothing to tell."""


def _handler(server: JobServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "mobilemod", ""
        timeout = SOCKET_SECONDS

        def do_GET(self) -> None:
            self._get(with_body=True)

        def do_HEAD(self) -> None:
            self._get(with_body=False)

        def do_POST(self) -> None:
            body = self._body()
            if body is None:
                return
            name = self._job_path()
            channel = self._channel() if name == "lines" else None
            if name != "lines":
                self._say(HTTPStatus.NOT_FOUND, "not here")
            elif channel is not None:
                try:
                    channel.deliver(body)
                except Gone:
                    message = "this job has ended; start it again and open the new address"
                    return self._say(HTTPStatus.GONE, message)
                self._answer(json.dumps({"received": body.count(b"\n")}).encode(), ".json")

        def _get(self, with_body: bool) -> None:
            name = self._job_path()
            if name == RESUME_FILE:
                channel = self._channel()
                if channel is not None:
                    self._answer(channel.resume(), ".json", with_body)
            elif name is not None and name in server.job:
                self._file(server.job[name], "no-store", with_body)
            elif name is None and (path := self._path().lstrip("/")) in server.app:
                lasting = path.startswith(("assets/", "wasm/"))
                keep = "public, max-age=31536000, immutable" if lasting else "no-cache"
                self._file(server.app[path], keep, with_body)
            else:
                self._say(HTTPStatus.NOT_FOUND, "not here")

        def _path(self) -> str:
            return urlsplit(self.path).path

        def _job_path(self) -> str | None:
            """The path within the job; None outside of it, "" for a wrong token."""
            parts = self._path().split("/", 3)
            if len(parts) < 4 or parts[1] != "job":
                return None
            right = hmac.compare_digest(parts[2].encode(), server.token.encode())
            return parts[3] if right else ""

        def _channel(self) -> Channel | None:
            """The asking browser's channel; answers by itself where there is none."""
            client = parse_qs(urlsplit(self.path).query).get("client", [NO_CLIENT])[0]
            if not _CLIENT.match(client):
                self._say(HTTPStatus.BAD_REQUEST, "client must be 16 hex digits")
                return None
            channel = server.welcome(client)
            if channel is None:
                self._say(HTTPStatus.CONFLICT, "another browser is working on this job")
            return channel

        def _body(self) -> bytes | None:
            """What was posted; answers by itself where that is refused."""
            length = self.headers.get("Content-Length", "")
            if not length.isascii() or not length.isdigit():
                self.close_connection = True
                self._say(HTTPStatus.LENGTH_REQUIRED, "give Content-Length")
            elif len(length) > 9 or int(length) > MAX_BODY:
                self.close_connection = True
                self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
            else:
                body = self.rfile.read(int(length))
                if len(body) == int(length):
                    return body
                self.close_connection = True
            return None

        def _file(self, path: Path, keep: str, with_body: bool) -> None:
            self.send_response(HTTPStatus.OK)
            self._head(path.suffix, path.stat().st_size, keep)
            if with_body:
                with path.open("rb") as f:
                    while block := f.read(1 << 18):
                        self.wfile.write(block)

        def _say(self, status: HTTPStatus, text: str) -> None:
            self._answer(f"{text}\n".encode(), ".txt", status=status)

        def _answer(
            self,
            data: bytes,
            suffix: str,
            with_body: bool = True,
            status: HTTPStatus = HTTPStatus.OK,
        ) -> None:
            self.send_response(status)
            self._head(suffix, len(data), "no-store")
            if with_body:
                self.wfile.write(data)

        def _head(self, suffix: str, length: int, keep: str) -> None:
            self.send_header("Content-Type", TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(length))
            self.send_header("Cache-Control", keep)
            for key, value in HEADERS.items():
                self.send_header(key, value)
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Nothing: the terminal shows the address and what the job is at."""

    return Handler
