"""Runs in the guest: one model file, its logits, and marks around counted inferences.

Called as `guest.py MODEL INPUT.npy LOGITS.npy REPEATS`; of mobilemod the guest has the worker's
modules alone. Prints what ran the file.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import numpy as np

from mobilemod.harness.worker.runtimes import runtime_of_file

# icount.c: a system call that doesn't exist; 1 sets the counts to zero, 2 writes them.
MARK = 0x6D6F6264


def main(model: str, given: str, out: str, repeats: str) -> None:
    x = np.load(given)
    loaded = runtime_of_file(Path(model)).load(Path(model), 1, "xnnpack")
    invoke = loaded.invoke
    syscall = ctypes.CDLL(None).syscall
    syscall.argtypes = (ctypes.c_long, ctypes.c_long)
    gc.disable()
    found = []
    # The first image last, and then again: one loop, as a line of Python costs more at first.
    for n, image in enumerate([*x[::-1], *[x[0]] * int(repeats)]):
        loaded.set_input(loaded.prepare(image[None]))
        begin, end = (1, 2) if n >= len(x) else (0, 0)
        syscall(MARK, begin)
        invoke()
        syscall(MARK, end)
        found.append(loaded.outputs())
    np.save(out, np.stack(found[len(x) - 1 :: -1]))
    # What the marks themselves cost.
    syscall(MARK, 1)
    syscall(MARK, 2)
    print(loaded.description)


if __name__ == "__main__":
    main(*sys.argv[1:])
