"""An emulated Android device for the real adb client: `python -m tests.adbd --folder DIR`."""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures.thread  # noqa: F401  (not found once the root is another)
import contextlib
import encodings.idna  # noqa: F401
import json
import os
import shutil
import sys
from pathlib import Path

from mobilemod.errors import UserError
from tests.adbd import shell, sync
from tests.adbd.faults import Faults
from tests.adbd.root import Options, build, mount
from tests.adbd.transport import FEATURES, Connection, Stream

ENVIRONMENT = {
    "PATH": "/system/bin",
    "HOME": "/",
    "TMPDIR": "/data/local/tmp",
    "EXTERNAL_STORAGE": "/sdcard",
    "LC_ALL": "C.UTF-8",
}
UNSHARE = (
    "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child=KILL",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.adbd", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the device's files are")
    parser.add_argument("--port", type=int, default=0, help="TCP port; a free one is chosen")
    parser.add_argument("--name", default=Options.name, help="what it calls itself")
    parser.add_argument("--no-python", action="store_true", help="without the ARM64 Python")
    parser.add_argument("--app", action="store_true", help="with a stand-in for the Android app")
    parser.add_argument("--disk", type=int, default=0, help="bytes that /data holds")
    parser.add_argument("--unauthorized", action="store_true", help="ask for a confirmation")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    options = Options(args.name, not args.no_python, args.app, args.disk)
    args.folder = args.folder.resolve()
    if not args.inside:
        if shutil.which(UNSHARE[0]) is None:
            raise UserError("the emulated device needs Linux with 'unshare' (util-linux)")
        build(args.folder, options)
        program = [sys.executable, "-m", "tests.adbd", "--inside", *(arguments or sys.argv[1:])]
        os.execvp(UNSHARE[0], [*UNSHARE, *program])
    child = os.fork()
    if child:
        return reap(child)
    mount(args.folder / "root", options)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve(args, options))
    return 0


def reap(child: int) -> int:
    """The first process of the namespace: collect what the device's shells leave behind."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


async def serve(args: argparse.Namespace, options: Options) -> None:
    """Until standard input ends: whoever started the device holds it open."""
    faults = Faults()
    banner = f"device::ro.product.name=emulated;ro.product.model={options.name};features={FEATURES}"

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if faults.unplugged:
            writer.transport.abort()
            return
        connection = Connection(reader, writer, service, banner, not args.unauthorized)
        faults.connections.add(connection)
        try:
            # Cancelled at the daemon's end.
            with contextlib.suppress(asyncio.CancelledError):
                await connection.serve()
        finally:
            faults.connections.discard(connection)

    async def service(name: str, stream: Stream) -> None:
        kind, _, rest = name.partition(":")
        words = kind.split(",")
        if words[0] == "shell" and "v2" in words:
            await shell.serve_v2(rest, stream, ENVIRONMENT, faults.said_by(rest))
        elif words[0] in ("shell", "exec"):
            await shell.serve_raw(rest, stream, ENVIRONMENT, faults.said_by(rest))
        elif kind == "sync":
            await sync.serve(stream, faults.incoming, faults.outgoing)
        elif kind == "tcp":
            await shell.serve_tcp(int(rest), stream)

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(faults.apply(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", args.port)
    await asyncio.start_unix_server(control, args.folder / "control")
    port = server.sockets[0].getsockname()[1]
    os.chroot(args.folder / "root")
    os.chdir("/")
    print(f"127.0.0.1:{port}", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: at_end(ended))
    await ended.wait()


def at_end(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        ended.set()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"{error}")
