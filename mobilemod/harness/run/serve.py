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

from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import JOB_FILE, RESUME_FILE
from mobilemod.harness.protocol.job_folder import JobFolder
from mobilemod.harness.protocol.lines import Reader
from mobilemod.harness.run.http_server import JSON, Answer, HttpServer, Request, Work, say
from mobilemod.harness.run.web_app import (
    NOT_ALLOWED,
    READING,
    built_app,
    default_app,
    file_answer,
    variants_of,
)

MAX_CLIENTS = 64
# No line of the protocol is shorter; millions of empty ones would take seconds to read.
LEAST_LINE = 32
# A line that must be on disk before its browser hears so; a full disk or a stopped run ends it.
WRITE_SECONDS = 120.0
SLICE = 1 << 16
NO_CLIENT = "0" * 16
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Digits that a phone's user types. After so many wrong codes none is taken any more.
CODE_DIGITS, WRONG_CODES = 8, 1000
# By this file the page knows that its host has jobs, and no model of its own.
HARNESS_PAGE = "harness.json"
NOT_HERE = say(HTTPStatus.NOT_FOUND, "not here")
_CLIENT = re.compile(r"[0-9a-f]{16}\Z")
_CODE = re.compile(rf"[0-9]{{{CODE_DIGITS}}}\Z")

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
        self.code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
        self._wrong_codes = 0
        self.app = built_app(app or default_app())
        names = [JOB_FILE, *(path for path, _ in folder.contents())]
        self.job = {name: p for name in names if (p := folder.path(name)).is_file()}
        super().__init__(host, port, self._find, HEADERS)

    def address(self, host: str) -> str:
        """The page's address for a browser that reaches this machine as `host`."""
        return f"{self._root(host)}{self._page}"

    def typed_address(self, host: str) -> str:
        """A short one that leads there, to be typed."""
        return f"{self._root(host)}/{self.code}"

    def _root(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}"

    @property
    def _page(self) -> str:
        return f"/?job=/job/{self.token}/"

    # -- what is where; nothing here waits

    def _find(self, request: Request) -> Answer | Work:
        parts = request.path.split("/", 3)
        if len(parts) == 4 and parts[1] == "job":
            if not hmac.compare_digest(parts[2].encode(), self.token.encode()):
                return NOT_HERE
            return self._find_of_job(request, parts[3])
        path = request.path.removeprefix("/")
        if path not in self.app:
            return self._find_typed(request, path)
        lasting = path.startswith(("assets/", "wasm/"))
        keep = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return file_answer(request, self.app[path], keep, variants_of(self.app, path))

    def _find_typed(self, request: Request, path: str) -> Answer:
        """What no file is: a code, right or wrong, and the mark of a harness."""
        if request.method not in READING:
            return NOT_HERE
        if path == HARNESS_PAGE:
            content = json.dumps({"schema": "mobilemod/harness-page/1"}).encode()
            return Answer(HTTPStatus.OK, content, JSON)
        if not _CODE.match(path):
            return NOT_HERE
        right = self._wrong_codes < WRONG_CODES and hmac.compare_digest(path, self.code)
        if not right:
            self._wrong_codes += 1
        page = self._page if right else "/?code=wrong"
        return Answer(HTTPStatus.SEE_OTHER, b"", headers=(("Location", page),))

    def _find_of_job(self, request: Request, name: str) -> Answer | Work:
        if name == "lines" and request.method == "POST":
            return self._with_channel(request, _deliver, takes_body=True)
        if name == RESUME_FILE and request.method in READING:
            return self._with_channel(
                request, lambda channel, _: Answer(HTTPStatus.OK, channel.resume(), JSON)
            )
        if name in self.job:
            return file_answer(request, self.job[name], "no-store")
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
