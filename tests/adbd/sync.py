"""The daemon's `sync:` service: files to and from the device.

After AOSP's packages/modules/adb/SYNC.TXT and file_sync_protocol.h: STAT, STA2, LST2, LIST, SEND,
RECV, QUIT. Paths are the device's own: the daemon has it as its root.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.adbd.transport import Stream, StreamClosed

if TYPE_CHECKING:
    import asyncio

REQUEST = struct.Struct("<4sI")
STAT1 = struct.Struct("<4s3I")
STAT2 = struct.Struct("<4sIQQIIIIQqqq")
DENT = struct.Struct("<4s4I")
MAX_CHUNK = 64 * 1024
MAX_PATH = 1024

Incoming = Callable[[bytes], "asyncio.Future[bytes]"]


async def serve(stream: Stream, received: Incoming, sent: Incoming) -> None:
    """Requests until QUIT. received, sent: see every chunk of a file that passes."""
    while True:
        name, length = REQUEST.unpack(await stream.read_exactly(REQUEST.size))
        if name == b"QUIT":
            return
        if length > MAX_PATH:
            await fail(stream, "path too long")
            return
        argument = os.fsdecode(await stream.read_exactly(length))
        if name == b"STAT":
            await stream.write(stat_1(argument))
        elif name in (b"STA2", b"LST2"):
            await stream.write(stat_2(name, argument))
        elif name == b"LIST":
            await stream.write(listing(argument))
        elif name == b"SEND":
            await receive(stream, argument, received)
        elif name == b"RECV":
            await send(stream, argument, sent)
        else:
            await fail(stream, f"unknown command {name!r}")
            return


async def fail(stream: Stream, message: str) -> None:
    data = message.encode()
    await stream.write(REQUEST.pack(b"FAIL", len(data)) + data)


def stat_1(path: str) -> bytes:
    """Mode, size and time, or zeros."""
    try:
        s = os.lstat(path)
    except OSError:
        return STAT1.pack(b"STAT", 0, 0, 0)
    return STAT1.pack(b"STAT", s.st_mode, s.st_size & 0xFFFFFFFF, int(s.st_mtime))


def stat_2(name: bytes, path: str) -> bytes:
    """The same with 64 bits and the error's number."""
    try:
        s = os.stat(path) if name == b"STA2" else os.lstat(path)
    except OSError as error:
        return STAT2.pack(name, error.errno or 0, *[0] * 10)
    times = (int(s.st_atime), int(s.st_mtime), int(s.st_ctime))
    return STAT2.pack(
        name, 0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, *times
    )


def listing(path: str) -> bytes:
    """A folder's entries; nothing where there is none."""
    found = []
    try:
        entries = sorted(os.scandir(path), key=lambda e: e.name)
    except OSError:
        entries = []
    for entry in entries:
        s, name = entry.stat(follow_symlinks=False), os.fsencode(entry.name)
        size = s.st_size & 0xFFFFFFFF
        found.append(DENT.pack(b"DENT", s.st_mode, size, int(s.st_mtime), len(name)) + name)
    return b"".join(found) + DENT.pack(b"DONE", 0, 0, 0, 0)


async def receive(stream: Stream, argument: str, received: Incoming) -> None:
    """SEND: the client's file into the device; what a failed one left is removed."""
    path, _, mode = argument.rpartition(",")
    error = None
    file = None
    try:
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        if stat.S_ISLNK(int(mode)):
            raise OSError("links are not taken")
        file = open(path, "wb")  # noqa: SIM115
        os.chmod(path, (int(mode) & 0o777) | 0o600)
    except OSError as e:
        error = e
    try:
        while True:
            name, length = REQUEST.unpack(await stream.read_exactly(REQUEST.size))
            if name == b"DONE":
                break
            if name != b"DATA" or length > MAX_CHUNK:
                error = error or OSError("invalid data message")
                break
            chunk = await received(await stream.read_exactly(length))
            # After a failure the rest is taken and dropped: the client reads no answer before.
            error = error or write_chunk(file, chunk)
    except StreamClosed:
        error = OSError("the client went away")
        raise
    finally:
        error = close(file) or error
        if error is not None and file is not None:
            os.unlink(path)
    if error is not None:
        await fail(stream, f"couldn't create {path}: {error.strerror or error}")
        return
    os.utime(path, (length, length))
    await stream.write(REQUEST.pack(b"OKAY", 0))


def write_chunk(file, chunk: bytes) -> OSError | None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        return error
    return None


def close(file) -> OSError | None:
    try:
        if file is not None:
            file.close()
    except OSError as error:
        return error
    return None


async def send(stream: Stream, path: str, sent: Incoming) -> None:
    """RECV: the device's file to the client."""
    try:
        with open(path, "rb") as file:
            while chunk := file.read(MAX_CHUNK):
                chunk = await sent(chunk)
                await stream.write(REQUEST.pack(b"DATA", len(chunk)) + chunk)
    except OSError as error:
        await fail(stream, f"failed to open {path}: {error.strerror}")
        return
    await stream.write(REQUEST.pack(b"DONE", 0))
