"""A worker process on this machine whose standard output is the stream."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from mobilemod.harness.drivers import DeviceLost, Receive

REFUSED = 2  # the worker's exit code after a fatal `error` line


def stream_process(
    command: Sequence[str], receive: Receive, environment: Mapping[str, str]
) -> None:
    """Run `command` to its end, handing on what it writes; ended with everything it started.

    Raises `DeviceLost` with the last thing that it said where it fails or is killed, and what
    `receive` raises.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        try:
            _pump(process, receive)
            code = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if code not in (0, REFUSED):
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            raise DeviceLost(f"the worker process {how}: {_last_line(said)}")


def _pump(process: subprocess.Popen[bytes], receive: Receive) -> None:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(1.0):
                receive(b"")
                continue
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                return
            receive(data)


def _last_line(said) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - 4096))
    lines = said.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
