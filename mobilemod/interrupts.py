"""SIGINT and SIGTERM as exceptions, so that cleaning up is the same for both."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SAID = "interrupted; run the same command again to go on"


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to stop. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells have it: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + getattr(error, "number", signal.SIGINT)


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Within it SIGINT and SIGTERM raise `Interrupted` in the main thread.

    One that whoever started this process had ignored stays ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            # An exception in the middle of a framework's import ends in its C++ code as an abort.
            print(f"mobilemod: error: {SAID}", file=sys.stderr, flush=True)
            os._exit(128 + number)
        frame = frame.f_back
    raise Interrupted(number)
