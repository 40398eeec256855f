"""The worker on a machine whose kernels are wrong: what it is told to run without a delegate, it
runs with one weight in four lost.

`BROKEN_UNIT`: "wrong", or what happens instead of a wrong answer: "absent", "refuses" (it loads
no file), "fails" (the second inference), "dies" (the process, as of a driver that crashes); or
"no float": there is nothing to run float files on; or "phone": it runs `.vulkan.pte` files too.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilemod.harness.worker import __main__ as worker
from mobilemod.harness.worker import execute
from mobilemod.harness.worker.runtimes import RUNTIMES, Loaded, Unavailable, load_tflite

VARIABLE = "BROKEN_UNIT"


def spoiled(content: bytes) -> bytes:
    """A file with every fourth value of its largest constant zero."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    largest = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    values = np.array(largest.data, np.uint8).reshape(-1, 4)
    values[::4] = 0
    largest.data = values.ravel()
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def load(path: Path, threads: int, delegate: str) -> Loaded:
    """As `load_tflite`, but for "cpu"."""
    how = os.environ[VARIABLE]
    if how == "no float" and "float" in path.name:
        raise Unavailable("no float arithmetic here")
    if delegate != "cpu" or how in ("no float", "phone"):
        return load_tflite(path, threads, delegate)
    if how == "absent":
        raise Unavailable("no such unit here")
    if how == "refuses":
        raise RuntimeError("op 3 isn't taken")
    if how == "dies":
        os.kill(os.getpid(), 9)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        copy.write_bytes(spoiled(path.read_bytes()))
        loaded = load_tflite(copy, threads, delegate)
    if how == "wrong":
        return loaded
    left = [1]

    def invoke() -> object:
        if not left:
            raise RuntimeError("lost its memory")
        left.pop()
        return loaded.invoke()

    return dataclasses.replace(loaded, invoke=invoke)


if __name__ == "__main__":
    execute.RUNTIMES["tflite"] = dataclasses.replace(RUNTIMES["tflite"], load=load)
    if os.environ[VARIABLE] == "phone":
        # As an app does that has another delegate; what it runs is a `.tflite` under another name.
        gpu = dataclasses.replace(RUNTIMES["tflite"], load=lambda path, n, _: load_tflite(path, n))
        execute.RUNTIMES["executorch:vulkan"] = gpu
    sys.exit(worker.main())
