"""The adb transport: 24-byte headers, streams with one unacknowledged write each.

After AOSP's packages/modules/adb/protocol.txt. Version 0x01000001, so checksums are neither
written nor read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

HEADER = struct.Struct("<6I")
VERSION, MAX_DATA = 0x01000001, 1 << 18
COMMANDS = (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE", b"AUTH")
CNXN, OPEN, OKAY, CLSE, WRTE, AUTH = (int.from_bytes(name, "little") for name in COMMANDS)
AUTH_TOKEN, AUTH_KEY = 1, 3
FEATURES = "shell_v2,cmd,stat_v2,fixed_push_mkdir"


class StreamClosed(Exception):
    """The other side closed the stream, or the connection is gone."""


# (service as the client named it, its stream) -> until the stream's work is done
Service = Callable[[str, "Stream"], Awaitable[None]]


@dataclass
class Stream:
    """One open stream: `read` whatever comes next, `write` waits for the client's OKAY."""

    connection: Connection
    local: int
    remote: int
    incoming: asyncio.Queue = field(default_factory=asyncio.Queue)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    rest: bytes = b""

    async def read(self) -> bytes:
        """The next block; raises `StreamClosed` at the end."""
        if self.closed and self.incoming.empty():
            raise StreamClosed
        data = await self.incoming.get()
        if data is None:
            raise StreamClosed
        await self.connection.send(OKAY, self.local, self.remote)
        return data

    async def read_exactly(self, count: int) -> bytes:
        """`count` bytes, whatever blocks they come in."""
        while len(self.rest) < count:
            self.rest += await self.read()
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    async def write(self, data: bytes) -> None:
        """All of `data`, in blocks that the client takes."""
        size = self.connection.max_data
        for i in range(0, len(data), size):
            await self.ready.wait()
            if self.closed:
                raise StreamClosed
            self.ready.clear()
            await self.connection.send(WRTE, self.local, self.remote, data[i : i + size])

    def end(self) -> None:
        """No more will come and nothing more is taken."""
        self.closed = True
        self.incoming.put_nowait(None)
        self.ready.set()


class Connection:
    """One client's connection, from CNXN to its end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        service: Service,
        banner: str,
        authorized: bool = True,
    ) -> None:
        self.reader, self.writer = reader, writer
        self.service, self.banner, self.authorized = service, banner, authorized
        self.max_data = MAX_DATA
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task] = set()
        self.next_id = 1

    async def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        header = HEADER.pack(command, arg0, arg1, len(data), 0, command ^ 0xFFFFFFFF)
        self.writer.write(header + data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def serve(self) -> None:
        """Answer packets until the client goes."""
        try:
            while True:
                header = await self.reader.readexactly(HEADER.size)
                command, arg0, arg1, length, _, magic = HEADER.unpack(header)
                if magic != command ^ 0xFFFFFFFF or length > MAX_DATA:
                    break
                await self.packet(command, arg0, arg1, await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """As when the cable is pulled: nothing is said."""
        for stream in self.streams.values():
            stream.end()
        for task in list(self.tasks):
            task.cancel()
        if self.writer.transport is not None:
            self.writer.transport.abort()

    async def packet(self, command: int, arg0: int, arg1: int, data: bytes) -> None:
        if command == CNXN:
            self.max_data = min(MAX_DATA, arg1)
            await self.greet()
        elif command == AUTH:
            # A key that nobody confirmed on the screen: say nothing, as a phone does.
            if arg0 != AUTH_KEY:
                await self.send(AUTH, AUTH_TOKEN, 0, os.urandom(20))
        elif command == OPEN:
            stream = Stream(self, self.next_id, arg0)
            self.next_id += 1
            self.streams[stream.local] = stream
            task = asyncio.create_task(self.run(data.rstrip(b"\0").decode(), stream))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif arg1 in self.streams:
            await self.stream_packet(command, self.streams[arg1], data)

    async def stream_packet(self, command: int, stream: Stream, data: bytes) -> None:
        if command == OKAY:
            stream.ready.set()
        elif command == WRTE:
            stream.incoming.put_nowait(data)
        elif command == CLSE:
            stream.end()

    async def greet(self) -> None:
        if self.authorized:
            await self.send(CNXN, VERSION, MAX_DATA, self.banner.encode())
        else:
            await self.send(AUTH, AUTH_TOKEN, 0, os.urandom(20))

    async def run(self, service: str, stream: Stream) -> None:
        stream.ready.set()
        await self.send(OKAY, stream.local, stream.remote)
        try:
            await self.service(service, stream)
            # What was written last has to arrive before the stream is closed.
            await stream.ready.wait()
        except StreamClosed:
            pass
        finally:
            stream.end()
            self.streams.pop(stream.local, None)
            await self.send(CLSE, stream.local, stream.remote)
