"""Worker processes: their memory, and the environment that they leave behind."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from mobilemod.errors import UserError
from mobilemod.workers import KEEP_MEMORY, WorkerDied, worker_pool
from tests.commands import ROOT

BLOCK = 64 << 20
ROUNDS = 8


def page_faults() -> int:
    """Pages that the system gave while a large block was taken and freed again and again."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        torch.ones(BLOCK, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc's allocator")
def test_worker_keeps_the_memory_of_freed_tensors():
    with worker_pool(1) as pool:
        faults = pool.submit(page_faults).result()
    assert faults < page_faults() / 2


def test_environment_is_left_as_it_was(monkeypatch):
    name = "MALLOC_TOP_PAD_"
    monkeypatch.setenv(name, "1048576")
    before = dict(os.environ)
    with worker_pool(1) as pool:
        seen = pool.submit(os.getenv, name).result()
        assert os.environ["MALLOC_MMAP_MAX_"] == KEEP_MEMORY["MALLOC_MMAP_MAX_"]
    assert seen == "1048576" and dict(os.environ) == before


def test_a_worker_that_crashes_is_one_line():
    with pytest.raises(WorkerDied, match="a worker process died") as caught, worker_pool(1) as pool:
        pool.submit(os.abort).result()
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)


def test_a_script_without_a_guard_may_use_workers(tmp_path):
    """A worker that ran the script again would start workers of its own, and die of it."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('begins')\n"
        "import os\n"
        "from mobilemod.workers import worker_pool\n"
        "with worker_pool(1) as pool:\n"
        "    print(pool.submit(os.getpid).result() != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "begins\nTrue\n"), done.stderr
