"""`.pte` files by ExecuTorch's C++ libraries, where its Python package has no PyTorch to run in."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Beside ExecuTorch's own libraries, compiled from arm64/pte.cpp by `mobilemod arm64`.
NATIVE = "libmobilemod_pte.so"
LIBRARIES = (
    "libexecutorch.so", "libexecutorch_threadpool.so", "libexecutorch_kernels_optimized.so",
    "libexecutorch_backend_xnnpack.so", NATIVE,
)  # fmt: skip
# As `Loaded` has them: prepare, set_input, invoke, outputs.
Calls = tuple[
    Callable[[np.ndarray], Any],
    Callable[[Any], None],
    Callable[[], object],
    Callable[[], np.ndarray],
]


@functools.cache
def native_folder() -> Path | None:
    """Where the C++ libraries are; None where ExecuTorch's package runs files."""
    spec = importlib.util.find_spec("executorch")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if Path(folder, "lib", NATIVE).exists():
            return Path(folder, "lib")
    return None


@functools.cache
def native_library() -> ctypes.CDLL:
    """That of `NATIVE`, with the others loaded."""
    folder = native_folder()
    # Of all: what one registers or calls is in another.
    return [ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL) for name in LIBRARIES][-1]


class _File:
    """A model of pte.cpp's, freed with this. Raises `RuntimeError` with ExecuTorch's codes."""

    def __init__(self, path: Path):
        self.library, self.model = native_library(), ctypes.c_void_p()
        _check(self.library.pte_load, str(path).encode(), ctypes.byref(self.model))
        self.input: np.ndarray | None = None

    def __del__(self) -> None:
        self.library.pte_free(self.model)

    def call(self, name: str, *arguments: Any) -> None:
        """A function of the model."""
        _check(getattr(self.library, name), self.model, *arguments)


def _check(function: Any, *arguments: Any) -> None:
    if code := function(*arguments):
        raise RuntimeError(f"ExecuTorch's {function.__name__}: error {code:#x}")


def open_native(path: Path) -> Calls:
    """A file ready to run on one thread."""
    file = _File(path)

    def prepare(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x, np.float32)

    def set_input(x: np.ndarray) -> None:
        file.input = x  # its memory is what is read
        sizes = (ctypes.c_int * x.ndim)(*x.shape)
        file.call("pte_set_input", ctypes.c_void_p(x.ctypes.data), sizes, x.ndim)

    def invoke() -> None:
        file.call("pte_run")

    def outputs() -> np.ndarray:
        data, count, size = ctypes.c_void_p(), ctypes.c_int64(), ctypes.c_int()
        file.call("pte_output", *map(ctypes.byref, (data, count, size)))
        kind = ctypes.c_float if size.value == 4 else ctypes.c_uint8
        found = ctypes.cast(data, ctypes.POINTER(kind))
        return np.ctypeslib.as_array(found, (count.value,)).copy()

    return prepare, set_input, invoke, outputs
