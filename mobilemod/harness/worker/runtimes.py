"""Model files loaded by their runtimes' Python packages, on any machine that has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = {"tflite": ("LiteRT", "ai-edge-litert"), "executorch": ("ExecuTorch", "executorch")}


@dataclass(frozen=True)
class Loaded:
    """A file that is ready to run.

    prepare: float32 (1, 3, S, S) to what the runtime takes, outside any timing. set_input: hand
    that over. invoke: compute. logits: read the result, float32 (K,). description: what runs it.
    """

    prepare: Callable[[np.ndarray], Any]
    set_input: Callable[[Any], None]
    invoke: Callable[[], object]
    logits: Callable[[], np.ndarray]
    description: str

    def infer(self, prepared: Any) -> np.ndarray:
        """One inference from input to logits: what latency is taken of."""
        self.set_input(prepared)
        self.invoke()
        return self.logits()


def load_tflite(path: Path, threads: int = 1, delegate: str = "xnnpack") -> Loaded:
    """A `.tflite` file in LiteRT; delegate "xnnpack", or "cpu": its built-in kernels alone."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.interpreter import OpResolverType as resolver

    kind = resolver.AUTO if delegate == "xnnpack" else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind
    )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    (target,) = interpreter.get_output_details()
    channels_last = source["shape"][-1] == 3

    def prepare(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if channels_last else x)

    def set_input(x: np.ndarray) -> None:
        interpreter.set_tensor(source["index"], x)

    def logits() -> np.ndarray:
        return interpreter.get_tensor(target["index"]).reshape(-1).astype(np.float32)

    by = "XNNPACK" if delegate == "xnnpack" else "built-in kernels"
    version = f"LiteRT {version_of('tflite')}, {by}, {_threads(threads)}"
    return Loaded(prepare, set_input, interpreter.invoke, logits, version)


def load_pte(path: Path, threads: int = 1, delegate: str = "xnnpack") -> Loaded:
    """A `.pte` file in ExecuTorch; what it is delegated to is fixed in the file."""
    import torch

    # Not by the package, whose modules take half a minute to import on an emulated processor.
    from executorch.extension.pybindings import _portable_lib as library

    torch.set_num_threads(threads)
    library._unsafe_reset_threadpool(threads)
    program = library._load_for_executorch(str(path))
    given: list[Any] = []
    result: list[Any] = []

    def prepare(x: np.ndarray) -> Any:
        return (torch.from_numpy(np.ascontiguousarray(x)),)

    def set_input(x: Any) -> None:
        given[:] = [x]

    def invoke() -> None:
        result[:] = program.forward(given[0])

    def logits() -> np.ndarray:
        return result[0].numpy().reshape(-1).astype(np.float32)

    version = f"ExecuTorch {version_of('executorch')}, XNNPACK delegate, {_threads(threads)}"
    return Loaded(prepare, set_input, invoke, logits, version)


def _threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


LOADERS: dict[str, Callable[[Path, int, str], Loaded]] = {
    "tflite": load_tflite,
    "executorch": load_pte,
}


def import_runtime(target: str) -> None:
    """Import a target's package, so that a timed load is the file's and not Python's."""
    if target == "tflite":
        import ai_edge_litert.interpreter  # noqa: F401
    else:
        import torch  # noqa: F401
        from executorch.extension.pybindings import _portable_lib  # noqa: F401


def version_of(target: str) -> str:
    """The version of a target's package; raises PackageNotFoundError."""
    return metadata.version(PACKAGES[target][1])


def versions() -> dict[str, str]:
    """Runtime -> version, of those that are installed."""
    found = {}
    for name, package in PACKAGES.values():
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
