"""A model file for the Kotlin core's tests: `python -m tests.android.engine FILE [DELEGATE]`.

Over standard streams, big-endian: a count and so many float32 in, the input in its own order of the
file; a count and so many float32 out, the logits.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from mobilemod.harness.worker.runtimes import RUNTIMES


def main(path: Path, delegate: str = "xnnpack") -> None:
    """Answers until the input ends."""
    target = "tflite" if path.suffix == ".tflite" else "executorch"
    loaded = RUNTIMES[target].load(path, 1, delegate)
    channels_last = _channels_last(path)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        (count,) = struct.unpack(">i", head)
        values = np.frombuffer(source.read(4 * count), ">f4").astype(np.float32)
        side = round((count / 3) ** 0.5)
        shape = (1, side, side, 3) if channels_last else (1, 3, side, side)
        x = values.reshape(shape)
        # `prepare` would turn a channels-last file's input, which is turned already.
        prepared = x if target == "tflite" else loaded.prepare(x)
        logits = loaded.infer(prepared)
        sink.write(struct.pack(">i", logits.size) + logits.astype(">f4").tobytes())
        sink.flush()


def _channels_last(path: Path) -> bool:
    if path.suffix != ".tflite":
        return False
    from ai_edge_litert.interpreter import Interpreter

    return bool(Interpreter(model_path=str(path)).get_input_details()[0]["shape"][-1] == 3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
