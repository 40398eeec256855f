"""The daemon's `shell:`, `shell,v2:`, `exec:` and `tcp:` services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
from collections.abc import Callable

from tests.adbd.transport import Stream, StreamClosed

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
BLOCK = 1 << 16
PACKET = struct.Struct("<BI")

Environment = dict[str, str]
# What the device says, on its way out: faults.py may delay it, damage it, or pull the cable.
Outgoing = Callable[[bytes], "asyncio.Future[bytes]"]


async def start(command: str, environment: Environment, stderr: int) -> asyncio.subprocess.Process:
    """`sh -c command`, in a process group of its own; the home folder is /."""
    return await asyncio.create_subprocess_exec(
        "/system/bin/sh", "-c", command,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr,
        env=environment, cwd="/", start_new_session=True, limit=BLOCK,
    )  # fmt: skip


async def serve_raw(command: str, stream: Stream, environment: Environment, out: Outgoing) -> None:
    """`exec:` and the old `shell:`: both outputs in one, no exit status."""
    process = await start(command, environment, asyncio.subprocess.STDOUT)

    async def feed() -> None:
        with contextlib.suppress(StreamClosed, ConnectionError):
            while True:
                process.stdin.write(await stream.read())
                await process.stdin.drain()
        process.stdin.close()

    feeder = asyncio.create_task(feed())
    try:
        while block := await process.stdout.read(BLOCK):
            await stream.write(await out(block))
        await process.wait()
    finally:
        feeder.cancel()
        hang_up(process)


async def serve_v2(command: str, stream: Stream, environment: Environment, out: Outgoing) -> None:
    """`shell,v2:`: packets with the two outputs apart and the exit status at the end."""
    process = await start(command, environment, asyncio.subprocess.PIPE)
    lock = asyncio.Lock()

    async def send(kind: int, data: bytes) -> None:
        async with lock:
            await stream.write(PACKET.pack(kind, len(data)) + data)

    async def forward(kind: int, pipe: asyncio.StreamReader) -> None:
        while block := await pipe.read(BLOCK):
            await send(kind, await out(block) if kind == STDOUT else block)

    async def feed() -> None:
        with contextlib.suppress(StreamClosed, ConnectionError):
            while True:
                kind, length = PACKET.unpack(await stream.read_exactly(PACKET.size))
                data = await stream.read_exactly(length)
                if kind == STDIN:
                    process.stdin.write(data)
                    await process.stdin.drain()
                elif kind == CLOSE_STDIN:
                    process.stdin.close()
        process.stdin.close()
        # The client is gone, and with it its command.
        hang_up(process)

    feeder = asyncio.create_task(feed())
    try:
        await asyncio.gather(forward(STDOUT, process.stdout), forward(STDERR, process.stderr))
        status = await process.wait()
        await send(EXIT, bytes([status if status >= 0 else 128 - status]))
    finally:
        feeder.cancel()
        hang_up(process)


def hang_up(process: asyncio.subprocess.Process) -> None:
    """SIGHUP to what the command started, except for what it detached."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)


async def serve_tcp(port: int, stream: Stream) -> None:
    """`tcp:PORT`, the far end of `adb forward`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def feed() -> None:
        with contextlib.suppress(StreamClosed, ConnectionError):
            while True:
                writer.write(await stream.read())
                await writer.drain()
        writer.close()

    feeder = asyncio.create_task(feed())
    try:
        while block := await reader.read(BLOCK):
            await stream.write(block)
    finally:
        feeder.cancel()
        writer.close()
