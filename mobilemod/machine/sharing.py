"""Long work leaves the machine to others, and waits while a time is measured.

What is measured holds a lock of a file, which ends with its process. Where there can be none
(Windows, devices without a folder for it) nothing waits.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.5


def lower_priority(nice: int) -> None:
    """Leave the processor to others: 19 takes what is left alone.

    Linux's autogroups weigh terminals against each other, and niceness counts within one only: the
    group's is lowered too where it may be.
    """
    os.nice(nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def lock_file() -> Path:
    """The file of this user's lock."""
    return Path(tempfile.gettempdir()) / f"mobilemod-measuring-{os.getuid()}"


@contextlib.contextmanager
def measuring() -> Iterator[None]:
    """Within it, work that calls `wait_while_measuring` stands still."""
    with contextlib.ExitStack() as held:
        # Where no file can be kept, there is nothing that would wait for it.
        with contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(held.enter_context(open(lock_file(), "ab")), fcntl.LOCK_SH)
        yield


def wait_while_measuring() -> None:
    """Return when nobody on this machine is within `measuring`."""
    if fcntl is None or not _measured():
        return
    from mobilemod.progress import working  # not on devices, which measure alone

    with working("waiting while something is measured"):
        while _measured():
            time.sleep(POLL_SECONDS)


def _measured() -> bool:
    try:
        with open(lock_file(), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
