"""`mobilemod harness serve`: any number of browsers at once, each to a record of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError
from mobilemod.files import only_one
from mobilemod.harness.drivers import JobFolder, Receive, Resume
from mobilemod.harness.drivers.browser import BrowserDriver, announce, channel_of
from mobilemod.harness.job_build import build_job
from mobilemod.harness.serve import MAX_CLIENTS, Channel, JobServer, lan_address, serving
from mobilemod.harness.validate import (
    FOLDER,
    JOB_FOLDER,
    DeviceConfig,
    MakeHost,
    folder_name,
    validate_devices,
)
from mobilemod.manifest import load_bundle

# The page's address stays the same over restarts, so that a browser finds its own work again.
PORT = 8765
READY_SECONDS = 300.0
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
    """One browser's run, in a thread of its own."""

    def __init__(self, client: str):
        self.client, self.channel = client, None
        self.records: Records = []
        self.ready, self.stop = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=lambda: None)

    def start(self, work: Callable[[_Visitor], Records]) -> None:
        def run() -> None:
            try:
                self.records = work(self)
            except BaseException as error:
                print(f"{KIND}:{self.client}: {error}", file=sys.stderr, flush=True)
            finally:
                if self.channel is not None:
                    self.channel.close()
                self.ready.set()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()


class _VisitorDriver(BrowserDriver):
    """The driver of a browser that has come to the server."""

    def __init__(self, visitor: _Visitor, app: Path | None):
        super().__init__(phone=True, app=app)
        self._visitor = visitor

    def run(self, folder: JobFolder, resume: Resume, receive: Receive) -> None:
        channel = self._visitor.channel = channel_of(folder, resume, self._visitor.client)
        self._visitor.ready.set()
        while not channel.ended:
            if self._visitor.stop.is_set():
                raise UserError("the server was stopped")
            channel.pump(receive, 0.5)


def serve_browsers(
    config: ServeConfig, make_host: MakeHost, until: threading.Event | None = None
) -> Records:
    """Serve until `until` is set or Ctrl-C; the records of all browsers that came.

    A browser that was closed goes on where it was, also after the server was started anew.
    Results as of `validate_devices`, a browser's as device "browser:NAME".
    Raises `UserError` where the app isn't built, or the port or the bundle can't be used.
    """
    bundle = load_bundle(config.devices.bundle)
    driver = BrowserDriver(phone=True, app=config.app)
    driver.check()
    visitors: dict[str, _Visitor] = {}
    lock = threading.Lock()

    def work(visitor: _Visitor) -> Records:
        own = replace(config.devices, devices=(f"{KIND}:{visitor.client}",))
        records, _ = validate_devices(own, make_host, lambda _: _VisitorDriver(visitor, config.app))
        for record in records:
            config.tell(record)
        return records

    def welcome(client: str) -> Channel | None:
        with lock:
            visitor = visitors.get(client)
            if visitor is None and len(visitors) < MAX_CLIENTS:
                visitor = visitors[client] = _Visitor(client)
                visitor.start(work)
        if visitor is None:
            return None
        visitor.ready.wait(READY_SECONDS)
        return visitor.channel

    folder = config.devices.bundle / FOLDER / folder_name(KIND)
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder, "serving"):
        images, plan = config.devices.images, config.devices.plan
        built = build_job(bundle, images, driver, plan, folder / JOB_FOLDER)
        if images is not None:
            # Once here, and not by every browser's thread.
            make_host(bundle, images).answers([f.name for f in built.folder.job.files])
        server = JobServer(built.folder, welcome, config.host, config.port, config.app)
        with serving(server):
            announce(server.address(_shown(config.host)))
            try:
                (until or threading.Event()).wait()
            except KeyboardInterrupt:
                print("\nstopping; what was measured is kept", file=sys.stderr)
            for visitor in visitors.values():
                visitor.stop.set()
            for visitor in visitors.values():
                visitor.thread.join()
    return [record for visitor in visitors.values() for record in visitor.records]


def _shown(host: str) -> str:
    return lan_address() if host in ("0.0.0.0", "::", "") else host
