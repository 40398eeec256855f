"""Worker processes that end with their parent, one thread each."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from mobilemod.errors import UserError

# glibc hands the memory of a large tensor back to the system when it is freed and gets it anew,
# page by page, for the next: a third of a worker's time. With these it keeps it. Other C libraries
# don't know them.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
}

# The process that counts semaphores tells at its end of those that ended workers had.
QUIET = {"PYTHONWARNINGS": "ignore:resource_tracker"}


class WorkerDied(UserError):
    """A worker process ended without an answer: killed, or crashed in a library's C code."""


def default_workers() -> int:
    """One worker per core, at most four: each holds its own copy of the frameworks."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                      else os.cpu_count() or 1))  # fmt: skip


class _Worker(SpawnProcess):
    """A spawned process that doesn't run the caller's script again, which is what would start it.

    What a pool is given to do lies in modules that can be imported, never in the script.
    """

    @staticmethod
    def _Popen(process: BaseProcess) -> Any:
        script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process)
        finally:
            sys.modules["__main__"] = script


class _Workers(SpawnContext):
    """The context of such processes."""

    Process = _Worker


@contextlib.contextmanager
def worker_pool(workers: int | None = None) -> Iterator[Executor]:
    """A pool of spawned processes; pending work is dropped when the block is left by an error.

    Raises `WorkerDied` where one of them ends without an answer.
    """
    with _environment(QUIET):
        pool = ProcessPoolExecutor(workers or default_workers(), _Workers(), _start, (os.getpid(),))
    try:
        with _environment(KEEP_MEMORY):
            yield pool
    except BaseException as error:
        # What they were at is not waited for; the pool then sees them gone and closes its queues.
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise WorkerDied(
                "a worker process died: out of memory, ended from outside, or crashed in a library "
                "by a damaged file; run again with fewer images or targets to find which"
            ) from error
        raise
    pool.shutdown()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Within it, processes start with `values` where the environment sets nothing else."""
    added = {k: v for k, v in values.items() if k not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _start(parent: int) -> None:
    # Spawned workers outlive a killed parent otherwise: their queue never closes.
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    # Ctrl-C reaches every process of a terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)


def peak_memory() -> int:
    """Peak resident memory of this process, bytes.

    On Linux from /proc: getrusage's figure survives exec, so that a worker would report its
    parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
