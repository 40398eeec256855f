"""Faults that a running daemon is told to have, one JSON object a line over its control socket."""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

# By this at the end of what a command says the driver knows that all of it came.
MARK = re.compile(rb"[0-9a-f]{16}\Z")


@dataclass
class Faults:
    """What is wrong with this device at the moment.

    unplugged_until: on `time.monotonic`; no client is served before. cut: pull the cable when so
    many more bytes of files went in one direction ("in" or "out"), for `seconds`. rate: bytes a
    second, 0 without limit. garbage: [part of a command's text, how often]: random bytes in place
    of what the command says; the client's own mark at its end stays.
    """

    unplugged_until: float = 0.0
    cut: dict[str, Any] | None = None
    rate: float = 0.0
    garbage: list | None = None
    connections: set = field(default_factory=set)
    pulled: int = 0
    shell_commands: int = 0

    def apply(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what the test asks; the counts so far are the answer."""
        for key, value in order.items():
            if key == "unplug":
                self.unplug(value)
            elif key in ("cut", "rate", "garbage"):
                setattr(self, key, value)
            else:
                raise ValueError(f"unknown fault {key!r}")
        return {"pulled": self.pulled, "shell_commands": self.shell_commands}

    @property
    def unplugged(self) -> bool:
        return time.monotonic() < self.unplugged_until

    def unplug(self, seconds: float) -> None:
        """The cable is out for so long."""
        self.pulled += 1
        self.unplugged_until = time.monotonic() + seconds
        for connection in list(self.connections):
            connection.close()

    async def passing(self, direction: str, data: bytes) -> bytes:
        """A block on its way; may take long, or never arrive."""
        if self.rate:
            await asyncio.sleep(len(data) / self.rate)
        cut = self.cut
        if cut is not None and cut["direction"] == direction:
            cut["bytes"] -= len(data)
            if cut["bytes"] < 0:
                self.cut = None
                self.unplug(cut["seconds"])
                await asyncio.sleep(0)
        return data

    async def incoming(self, data: bytes) -> bytes:
        return await self.passing("in", data)

    async def outgoing(self, data: bytes) -> bytes:
        return await self.passing("out", data)

    def said_by(self, command: str):
        """What passes the output of one shell command on."""
        self.shell_commands += 1
        spoilt = self.garbage is not None and self.garbage[0] in command and self.garbage[1] > 0
        if spoilt:
            self.garbage[1] -= 1

        async def out(data: bytes) -> bytes:
            if spoilt:
                said = len(MARK.sub(b"", data))
                data = os.urandom(said) + data[said:]
            return await self.outgoing(data)

        return out
