"""A browser: a headless Chromium of this machine, else whichever opens the address, a phone's say.

The web app runs the job with LiteRT.js and sends the lines back (mobilemod/harness/run/serve.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost, Driver, JobFolder, Receive, Resume
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.run.serve import (
    Channel,
    JobServer,
    Unwelcome,
    lan_address,
    qr_code,
)
from mobilemod.harness.run.web_app import built_app, default_app

BINARIES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
OPTIONS = (
    "--headless",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-extensions",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    # A page that nobody sees would be slowed down.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    # Small in containers.
    "--disable-dev-shm-usage",
)
# Without a word for so long, a headless browser has hung; and another browser may take over from
# one that is silent.
SILENCE_SECONDS, TAKE_OVER_SECONDS = 180.0, 15.0
# For the last answer to reach the page before the server goes.
GOODBYE_SECONDS = 0.5
PHONE = "phone"


class BrowserDriver(Driver):
    """phone: wait for a browser from outside even where a Chromium is found."""

    runs = {"tflite": ("wasm", "webgpu")}

    def __init__(self, phone: bool = False, app: Path | None = None):
        self.app = app or default_app()
        self.binary = None if phone else find_binary()

    @property
    def most_threads(self) -> int:
        """Other machines come by plain HTTP, which gives a page no shared memory."""
        return 1 if self.binary is None else os.cpu_count() or 1

    def check(self) -> None:
        if self.binary is not None and shutil.which(self.binary) is None:
            raise UserError(f"CHROME={self.binary} is no program; set it to a Chromium's binary")
        built_app(self.app)

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        seat = Seat(folder, resume)
        local = self.binary is not None
        server = JobServer(folder, seat.welcome, "127.0.0.1" if local else "0.0.0.0", app=self.app)
        with server:
            if self.binary is None:
                announce(server, lan_address())
                browser = nullcontext(None)
            else:
                browser = headless(self.binary, server.address("127.0.0.1"))
            with browser as process:
                self._follow(seat.channel, receive, process)
                time.sleep(GOODBYE_SECONDS)

    def _follow(
        self, channel: Channel, receive: Receive, process: subprocess.Popen[bytes] | None
    ) -> None:
        """Hand on lines until the job has ended; raises `DeviceLost` where the browser is gone."""
        heard = time.monotonic()
        try:
            while not channel.ended:
                if channel.pump(receive, 1.0):
                    heard = time.monotonic()
                elif process is not None and process.poll() is not None:
                    raise DeviceLost(f"the browser ended with code {process.returncode}")
                elif process is not None and time.monotonic() - heard > SILENCE_SECONDS:
                    raise DeviceLost(f"the browser said nothing for {SILENCE_SECONDS:.0f} s")
        finally:
            channel.close()


class Seat:
    """The place of the one browser that works on a job; free again when it falls silent."""

    patience = TAKE_OVER_SECONDS

    def __init__(self, folder: JobFolder, resume: Resume):
        self.channel = Channel("", Held.after(folder.job, resume))
        self._heard = 0.0

    def welcome(self, client: str) -> Channel:
        now = time.monotonic()
        if client != self.channel.client:
            if self.channel.client and now - self._heard < self.patience:
                raise Unwelcome("another browser is working on this job")
            self.channel.client = client
        self._heard = now
        return self.channel


def find_binary() -> str | None:
    """CHROME, else the first Chromium that is found, else None."""
    found = (path for name in BINARIES if (path := shutil.which(name)))
    return os.environ.get("CHROME") or next(found, None)


def announce(server: JobServer, host: str) -> None:
    """Show where to go, as a QR code and to be typed. host: this machine, as the phone knows it."""
    address = server.address(host)
    print(
        f"{qr_code(address)}\nopen on the phone: {address}\n"
        f"or type: {server.typed_address(host)}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


@contextmanager
def headless(binary: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A browser at `address` with a profile of its own; ended, and the profile removed, after."""
    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [binary, *OPTIONS, *root, f"--user-data-dir={profile}", address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def create(device_id: str | None) -> BrowserDriver:
    """`browser`: headless where there is a Chromium. `browser:phone`: always from outside."""
    if device_id not in (None, PHONE):
        raise UserError(f"browser:{device_id}: give --device browser, or browser:{PHONE}")
    return BrowserDriver(phone=device_id == PHONE)
