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

from mobilemod.errors import UserError

SECONDS = 8.0
SPARE_MEMORY = 2 << 30


class IsolatedError(Exception):
    """What the call raised, or how its process ended, as one line."""


def call(
    function: Callable[..., Any], *args: Any, seconds: float = SECONDS, memory: int = SPARE_MEMORY
) -> Any:
    """`function(*args)` in a silent fork of this process that may die.

    memory: bytes beyond what this process has. Raises `IsolatedError` where the call raises,
    crashes, takes longer than `seconds` or more than that.
    """
    return _start(seconds, memory, function, args)


def call_unlimited(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` in a fork of this process, with its terminal and without limits.

    Only for a process that has started no threads, which a fork would miss.
    """
    return _start(None, None, function, args)


def _start(
    seconds: float | None, memory: int | None, function: Callable[..., Any], args: tuple
) -> Any:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, memory, function, args))
    process.daemon = memory is not None  # the others may start processes of their own
    with ours:
        process.start()
        theirs.close()
        try:
            if not ours.poll(seconds):
                raise IsolatedError("takes too long")
            try:
                outcome, value = ours.recv()
            except EOFError:
                process.join(SECONDS)
                raise IsolatedError(_ending(process.exitcode)) from None
        finally:
            process.kill()
            process.join()
    if outcome == "refused":
        raise UserError(value)
    if outcome == "failed":
        raise IsolatedError(value)
    return value


def _run(pipe: Connection, memory: int | None, function: Callable[..., Any], args: tuple) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        sink = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(sink, stream)
        with contextlib.suppress(ValueError, OSError):  # not every system has this limit
            limit = _address_space() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        result = "done", function(*args)
    except UserError as error:
        result = "refused", str(error)
    except BaseException as error:
        result = "failed", " ".join(str(error).split())[:300] or type(error).__name__
    pipe.send(result)


def _address_space() -> int:
    """Bytes of address space that this process has; libraries reserve more than they use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"crashes with {signal.Signals(-code).name}"
    return f"ends with code {code}"
