"""Whether this machine has a GPU that LiteRT finds, and files of one op for it."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.targets.target import get_target
from mobilemod.errors import UserError
from tests.tiny_bundle import Builder


def unit_op(code: int) -> bytes:
    """A file of one op of this kind between two additions, on images (1, 3, 4, 4)."""
    b, floats = Builder(), schema.TensorType.FLOAT32
    ops, options = schema.BuiltinOperator, schema.BuiltinOptions
    x, *rest = (b.tensor(name, (1, 4, 4, 3), floats) for name in ("image", "a", "b", "logits"))
    for kind, source, target in zip((ops.ADD, code, ops.ADD), (x, *rest), rest, strict=False):
        if kind == ops.ADD:
            b.op(kind, [source, source], target, options.AddOptions, schema.AddOptionsT())
        else:
            b.op(kind, [source], target)
    return b.finish(x, rest[-1])


@functools.cache
def lacking() -> str | None:
    """Why no file can run on a GPU here; None where one can."""
    try:
        get_target("tflite").run_on_gpu(probe(), np.zeros((1, 3, 4, 4), np.float32))
    except UserError as error:
        return str(error)
    return None


@functools.cache
def probe() -> Path:
    """A file that any GPU takes whole."""
    path = Path(tempfile.mkdtemp(), "probe.tflite")
    path.write_bytes(unit_op(schema.BuiltinOperator.ABS))
    return path
