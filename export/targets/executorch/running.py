"""ExecuTorch's own Python binding as what runs a `.pte` here."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.quiet import quiet
from export.targets.base import Runner
from export.targets.executorch.reader import read_pte
from mobilemod.errors import UserError


def runtime(threads: int) -> Any:
    """The binding's module; its thread count holds for all files loaded in this process."""
    with quiet():
        from executorch.extension.pybindings import portable_lib

        if portable_lib._threadpool_get_thread_count() != threads:
            portable_lib._unsafe_reset_threadpool(threads)
    return portable_lib


def described() -> str:
    """What runs the files, with its version."""
    return f"ExecuTorch {metadata.version('executorch')}, XNNPACK delegate"


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of a `.pte`; threads: see `runtime`.

    Raises `UserError` for a missing, cut off or damaged file, or where the wheel lacks XNNPACK.
    """
    read_pte(path)
    try:
        portable_lib = runtime(threads)
    except ImportError as error:
        raise UserError(f"running {path} needs the package 'executorch' ({error})") from None
    with quiet():
        try:
            program = portable_lib._load_for_executorch(str(path))
            shape = tuple(program.method_meta("forward").input_tensor_meta(0).sizes())
            program.forward((torch.zeros(shape),))
        except (RuntimeError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"{path}: ExecuTorch can't run it ({reason}); export it again"
            ) from None

    def run(x: np.ndarray) -> np.ndarray:
        # Checked here: the runtime prints a page and names no shape.
        if x.shape != shape or x.dtype != np.float32:
            raise ValueError(f"expected float32 {shape}, got {x.dtype} {x.shape}")
        return program.forward((torch.from_numpy(np.ascontiguousarray(x)),))[0].numpy()[0]

    return Runner(described(), run)
