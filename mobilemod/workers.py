"""Worker processes that end with their parent, one thread each."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context


def default_workers() -> int:
    """One worker per core, at most four: each holds its own copy of the frameworks."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                      else os.cpu_count() or 1))  # fmt: skip


@contextlib.contextmanager
def worker_pool(workers: int | None = None) -> Iterator[Executor]:
    """A pool of spawned processes; pending work is dropped when the block is left by an error."""
    pool = ProcessPoolExecutor(
        workers or default_workers(), get_context("spawn"), _start, (os.getpid(),)
    )
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    pool.shutdown()


def _start(parent: int) -> None:
    # Spawned workers outlive a killed parent otherwise: their queue never closes.
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
