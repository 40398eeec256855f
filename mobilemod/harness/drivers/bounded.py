"""Runs a program whose output nobody has to trust: so much of it, for so long, and no more."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mobilemod.errors import UserError
from mobilemod.harness.drivers import DeviceLost

MOST_BYTES = 16 << 20
BLOCK = 1 << 16


@dataclass(frozen=True)
class Finished:
    """A program's end: exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes


def run_bounded(words: Sequence[str], timeout: float, most_bytes: int = MOST_BYTES) -> Finished:
    """Run a program without input to its end.

    Raises `DeviceLost` where it takes longer than `timeout` seconds or writes more than
    `most_bytes`, `UserError` where it can't be run.
    """
    try:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise UserError(f"{words[0]} can't be run: {error.strerror}") from None
    with process:
        try:
            ends = time.monotonic() + timeout
            out, err = _read(process, ends, most_bytes)
            # It may close its output and go on.
            return Finished(process.wait(max(0.1, ends - time.monotonic())), out, err)
        except (TimeoutError, subprocess.TimeoutExpired):
            command = printable(" ".join(words))[:80]
            raise DeviceLost(f"{command}: no answer within {timeout:.0f} s") from None
        except OverflowError:
            raise DeviceLost(f"{words[0]}: more than {most_bytes >> 20} MiB of output") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def _read(process: subprocess.Popen[bytes], ends: float, most: int) -> tuple[bytes, bytes]:
    found: dict[int, bytearray] = {}
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
            found[pipe.fileno()] = bytearray()
        while selector.get_map():
            left = ends - time.monotonic()
            ready = selector.select(max(left, 0))
            if not ready and left <= 0:
                raise TimeoutError
            for key, _ in ready:
                data = os.read(key.fd, BLOCK)
                if not data:
                    selector.unregister(key.fileobj)
                found[key.fd] += data
            if sum(map(len, found.values())) > most:
                raise OverflowError
    out, err = found.values()
    return bytes(out), bytes(err)


def whole(text: str, most: int = 10**15) -> int | None:
    """A whole number from 0 in ASCII digits, None for anything else."""
    short = len(text) <= 16 and text.isascii() and text.isdigit()
    return int(text) if short and int(text) <= most else None


def last_line(text: str | bytes) -> str:
    """The last line that says anything, as people may see it."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    lines = [s for s in text.splitlines() if s.strip()]
    return printable(lines[-1].strip()) if lines else ""


def printable(text: str) -> str:
    """A device's words without what would steer a terminal, not too long."""
    return "".join(c for c in text if c.isprintable())[:300]
