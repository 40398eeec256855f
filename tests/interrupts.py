"""Processes that Ctrl-C ends, whatever started the tests."""

from __future__ import annotations

import signal
import subprocess
from typing import Any


def interruptible(command: list[str], **options: Any) -> subprocess.Popen:
    """As `Popen`, but SIGINT isn't ignored there.

    A shell starts what it runs in the background with SIGINT ignored, and children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGINT, before)
