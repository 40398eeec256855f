"""`mobilemod harness serve`: any number of browsers at once, each to a record of its own."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import atomic_folder, only_one
from mobilemod.harness.drivers import JobFolder, Receive, Resume
from mobilemod.harness.drivers.browser import BrowserDriver, announce
from mobilemod.harness.protocol.held import Held
from mobilemod.harness.protocol.job import JOB_FILE
from mobilemod.harness.run.job_build import Built, build_job
from mobilemod.harness.run.run_files import FOLDER, folder_name
from mobilemod.harness.run.serve import (
    MAX_CLIENTS,
    Channel,
    JobServer,
    Unwelcome,
    lan_address,
)
from mobilemod.harness.run.validate import (
    JOB_FOLDER,
    DeviceConfig,
    MakeHost,
    validate_devices,
)
from mobilemod.manifest import load_bundle

# The page's address stays the same over restarts, so that a browser finds its own work again.
PORT = 8765
READY_SECONDS = 300.0
# A browser that works says something every few seconds; one that has ended is remembered for a
# while, so that a page opened again hears so.
SILENT_SECONDS, KNOWN = 120.0, 1024
KIND = "browser"

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class ServeConfig:
    """devices: bundle, images, plan and gates; its `devices` are the browsers that come.

    host: address to listen on; the one shown is this machine's in the local network, or `host`
    where that is one. app: the built web app. tell: told each browser's record when it is there.
    """

    devices: DeviceConfig
    host: str = "0.0.0.0"
    port: int = PORT
    app: Path | None = None
    tell: Callable[[dict[str, Any]], None] = lambda record: None


class _Visitor:
    """One browser's run, in a thread of its own. heard: when it last asked for anything."""

    def __init__(self, client: str, work: Callable[[_Visitor], Records]):
        self.client, self._work = client, work
        self.channel: Channel | None = None
        self.error: BaseException | None = None
        self.records: Records = []
        self.heard = time.monotonic()
        self.ready, self.stop = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.records = self._work(self)
        except BaseException as error:
            self.error = error
            print(f"{KIND}:{self.client}: {error}", file=sys.stderr, flush=True)
        finally:
            if self.channel is not None:
                self.channel.close()
            self.ready.set()


class _Visitors:
    """Those that came. At most `MAX_CLIENTS` work at once; the silent make room for who comes."""

    def __init__(self, work: Callable[[_Visitor], Records]):
        self._work = work
        self._known: dict[str, _Visitor] = {}
        self._records: Records = []
        self._lock = threading.Lock()

    def welcome(self, client: str) -> Channel:
        """See `serve.Welcome`."""
        with self._lock:
            visitor = self._known.get(client)
            if visitor is None or visitor.stop.is_set():
                self._make_room()
                visitor = self._known[client] = _Visitor(client, self._work)
            visitor.heard = time.monotonic()
        visitor.ready.wait(READY_SECONDS)
        if visitor.channel is None:
            reason = visitor.error or "it isn't ready; open the address again"
            raise Unwelcome(f"this job can't be run here: {reason}")
        return visitor.channel

    def _make_room(self) -> None:
        ended = [v for v in self._known.values() if not v.thread.is_alive()]
        for visitor in ended[: max(0, len(self._known) - KNOWN)]:
            self._forget(visitor)
        working = [v for v in self._known.values() if v.thread.is_alive()]
        if len(working) < MAX_CLIENTS:
            return
        silent = min(working, key=lambda v: v.heard)
        seconds = time.monotonic() - silent.heard
        if seconds < SILENT_SECONDS:
            raise Unwelcome(
                f"{len(working)} browsers are working on this job, the most that may at once; "
                "open the address again when one is done"
            )
        print(f"{KIND}:{silent.client}: silent for {seconds:.0f} s; another takes its place",
              file=sys.stderr, flush=True)  # fmt: skip
        # It goes on where it was if it comes again.
        silent.stop.set()
        silent.thread.join()
        self._forget(silent)

    def _forget(self, visitor: _Visitor) -> None:
        self._records += visitor.records
        del self._known[visitor.client]

    def end(self) -> Records:
        """Stop those that work; the records of all."""
        with self._lock:
            for visitor in self._known.values():
                visitor.stop.set()
            for visitor in list(self._known.values()):
                visitor.thread.join()
                self._forget(visitor)
            return self._records


class _VisitorDriver(BrowserDriver):
    """The driver of a browser that has come to the server."""

    def __init__(self, visitor: _Visitor, app: Path | None):
        super().__init__(phone=True, app=app)
        self._visitor = visitor

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        channel = Channel(self._visitor.client, Held.after(folder.job, resume))
        self._visitor.channel = channel
        self._visitor.ready.set()
        while not channel.ended:
            if self._visitor.stop.is_set():
                raise UserError("the server was stopped")
            channel.pump(receive, 0.5)


def serve_browsers(
    config: ServeConfig, make_host: MakeHost, until: threading.Event | None = None
) -> Records:
    """Serve until `until` is set; the records of all browsers that came. Whatever is raised in
    the meantime, Ctrl-C say, passes on once every browser's record is written and the port free.

    A browser that was closed goes on where it was, also after the server was started anew.
    Results as of `validate_devices`, a browser's as device "browser:NAME".
    Raises `UserError` where the app isn't built, or the port or the bundle can't be used.
    """
    bundle = load_bundle(config.devices.bundle)
    driver = BrowserDriver(phone=True, app=config.app)
    driver.check()

    def work(visitor: _Visitor) -> Records:
        own = replace(config.devices, devices=(f"{KIND}:{visitor.client}",))
        records, _ = validate_devices(
            own,
            make_host,
            lambda _: _VisitorDriver(visitor, config.app),
            lambda *arguments: _share(built, arguments[-1]),
        )
        for record in records:
            config.tell(record)
        return records

    folder = config.devices.bundle / FOLDER / folder_name(KIND)
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder, "serving"):
        images, plan = config.devices.images, config.devices.plan
        built = build_job(bundle, images, driver, plan, folder / JOB_FOLDER)
        if images is not None:
            # Once here, and not by every browser's thread.
            make_host(bundle, images).answers([f.name for f in built.folder.job.files])
        visitors = _Visitors(work)
        server = JobServer(built.folder, visitors.welcome, config.host, config.port, config.app)
        with server:
            anywhere = config.host in ("0.0.0.0", "::", "")
            announce(server, lan_address() if anywhere else config.host)
            try:
                (until or threading.Event()).wait()
            except BaseException:
                print("\nstopping; what was measured is kept", file=sys.stderr)
                raise
            finally:
                records = visitors.end()
    return records


def _share(built: Built, out: Path) -> Built:
    """A browser's own view of a job: the server hands out the one copy of its models and images;
    here are the small files that its record is made of."""
    job, shared = built.folder.job, built.folder
    with atomic_folder(out) as folder:
        for name in (JOB_FILE, *(golden.path for golden in job.golden)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared.path(name), folder / name)
    return replace(built, folder=JobFolder(out, job))
