"""Calls in a process of their own: native code that reads a stranger's bytes may crash there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

SECONDS, BYTES_PER_SECOND = 9.0, 2_000_000
SPARE_MEMORY = 2 << 30


class IsolatedError(Exception):
    """What the call raised, or how its process ended, as one line."""


def call(
    function: Callable[..., Any], *args: Any, preload: str | None = None, size: int = 0
) -> Any:
    """`function(*args)`, of an importable module, run by a process that may die.

    preload: the module that takes long to import; it is imported once, by the process that the
    others are forked from; without it they are forked from this one, which has it. size:
    bytes of the file that is read, which allows time and memory.
    Raises `IsolatedError` where the call raises, crashes, takes too long or too much memory.
    """
    context = multiprocessing.get_context("forkserver" if preload else "fork")
    if preload:
        context.set_forkserver_preload(["__main__", preload])
    ours, theirs = context.Pipe(duplex=False)
    limit = SPARE_MEMORY + 8 * size
    process = context.Process(target=_run, args=(theirs, limit, function, args), daemon=True)
    with ours:
        process.start()
        theirs.close()
        try:
            if not ours.poll(SECONDS + size / BYTES_PER_SECOND):
                raise IsolatedError("takes too long")
            try:
                done, value = ours.recv()
            except EOFError:
                process.join(SECONDS)
                raise IsolatedError(_ending(process.exitcode)) from None
        finally:
            process.kill()
            process.join()
    if not done:
        raise IsolatedError(value)
    return value


def _run(pipe: Connection, limit: int, function: Callable[..., Any], args: tuple) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(sink, stream)
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        used = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        result = True, function(*args)
    except BaseException as error:
        result = False, " ".join(str(error).split())[:300] or type(error).__name__
    pipe.send(result)


def _address_space() -> int:
    """Bytes of address space that this process has; libraries reserve more than they use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"crashes with {signal.Signals(-code).name}"
    return f"ends with code {code}"
