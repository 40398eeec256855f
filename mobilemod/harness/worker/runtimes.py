"""Model files loaded by their runtimes' Python packages, on any machine that has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from mobilemod.errors import UserError
from mobilemod.harness.worker.pte_native import Calls, native_folder, native_library, open_native
from mobilemod.targets import facts_of_file, suffixes_of
from mobilemod.targets.facts import MAPS


class Unavailable(Exception):
    """This device has nothing that a configuration could run on; its message says what lacks."""


@dataclass(frozen=True)
class Loaded:
    """A file that is ready to run.

    prepare: float32 (1, 3, H, W) to what the runtime takes, outside any timing. set_input: hand
    that over. invoke: compute. outputs: read the result, float32 (K,), of maps (K, h, w), or flat
    (K·h·w,) where the runtime doesn't say their size, or the map of classes, uint8 (h, w) or flat.
    description: what runs it.
    """

    prepare: Callable[[np.ndarray], Any]
    set_input: Callable[[Any], None]
    invoke: Callable[[], object]
    outputs: Callable[[], np.ndarray]
    description: str
    partitions: int | None = None
    fallback: dict[str, int] | None = None

    @property
    def accelerated(self) -> bool | None:
        """Whether a delegate took all of it; None where the runtime doesn't say, or has none."""
        return None if self.fallback is None or not self.partitions else not self.fallback

    def infer(self, prepared: Any) -> np.ndarray:
        """One inference from input to outputs: what latency is taken of."""
        self.set_input(prepared)
        self.invoke()
        return self.outputs()


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

    def outputs() -> np.ndarray:
        y = interpreter.get_tensor(target["index"])
        return _of_one(np.moveaxis(y, -1, 1) if y.ndim == MAPS else y)

    by = "XNNPACK" if delegate == "xnnpack" else "built-in kernels"
    version = f"LiteRT {metadata.version('ai-edge-litert')}, {by}, {_threads(threads)}"
    where = tflite_placement(interpreter, target["index"])
    return Loaded(prepare, set_input, interpreter.invoke, outputs, version, *where)


def tflite_placement(interpreter: Any, output: int) -> tuple[int | None, dict[str, int] | None]:
    """(delegated parts, ops outside of them by name) of a prepared LiteRT interpreter.

    LiteRT lists a file's ops and, behind them, the delegates that took some over. Walking back from
    the tensor `output`, a tensor comes from a delegate where one makes it, else from its op.
    """
    details = getattr(interpreter, "_get_ops_details", None)  # not a public name
    if details is None:
        return None, None
    delegates, ops = {}, {}
    nodes = details()
    for node in nodes:
        makers = delegates if node["op_name"] == "DELEGATE" else ops
        makers.update({int(t): node for t in node["outputs"]})
    outside: dict[int, str] = {}
    waiting, seen = [output], set()
    while waiting:
        tensor = waiting.pop()
        node = delegates.get(tensor) or ops.get(tensor)
        if tensor in seen or node is None:
            continue
        seen.add(tensor)
        if tensor not in delegates:
            outside[node["index"]] = node["op_name"]
        waiting += [int(t) for t in node["inputs"]]
    parts = sum(node["op_name"] == "DELEGATE" for node in nodes)
    return parts, dict(Counter(outside.values()))


def prepare_pte() -> None:
    """Load what runs `.pte` files."""
    if native_folder():
        native_library()
    else:
        import_module("torch")  # before what needs its libraries
        import_module("executorch.extension.pybindings._C")


def load_pte(path: Path, threads: int = 1, delegate: str = "xnnpack") -> Loaded:
    """A `.pte` file in ExecuTorch; what it is delegated to is fixed in the file."""
    version = f"ExecuTorch {metadata.version('executorch')}, XNNPACK delegate, {_threads(threads)}"
    calls = open_native(path) if native_folder() else _open_in_package(path, threads)
    return Loaded(*calls, version)


def _open_in_package(path: Path, threads: int) -> Calls:
    import torch

    # Not by the package, whose modules take long to import.
    from executorch.extension.pybindings import _C as library

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

    def outputs() -> np.ndarray:
        return _of_one(result[0].numpy())

    return prepare, set_input, invoke, outputs


def _of_one(y: np.ndarray) -> np.ndarray:
    """As `Loaded.outputs` has it, of a batch of one with the classes first; a copy in the order
    that it lies in."""
    if y.dtype == np.uint8:
        return y[0].copy()
    one = y[0] if y.ndim == MAPS and y[0, 0].size > 1 else y.reshape(-1)
    return one.astype(np.float32)


def _threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


@dataclass(frozen=True)
class Runtime:
    """What runs a target's files in Python.

    package: as installed; module: as imported. delegates: what it can run a file on, by the
    protocol's names, the usual one first. load: (file, threads, delegate) -> a file ready to run;
    prepare: imports what it takes, so that a timed load is the file's and not Python's.
    """

    name: str
    package: str
    module: str
    delegates: tuple[str, ...]
    load: Callable[[Path, int, str], Loaded]
    prepare: Callable[[], object]

    @property
    def version(self) -> str | None:
        """Of the package, None where it isn't installed."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None


RUNTIMES = {
    "tflite": Runtime(
        "LiteRT",
        "ai-edge-litert",
        "ai_edge_litert",
        ("xnnpack", "cpu"),
        load_tflite,
        lambda: import_module("ai_edge_litert.interpreter"),
    ),
    "executorch": Runtime(
        "ExecuTorch",
        "executorch",
        "executorch",
        ("xnnpack",),
        load_pte,
        prepare_pte,
    ),
}


def delegates_of(target: str) -> tuple[str, ...]:
    """What a target's files can run on here, () where no runtime runs them."""
    return RUNTIMES[target].delegates if target in RUNTIMES else ()


def runtime_of_file(path: Path) -> Runtime:
    """What runs a file, by its suffix; `UserError` where nothing here does."""
    facts = facts_of_file(path)
    if facts is None or facts.name not in RUNTIMES:
        raise UserError(f"{path}: Python runs {', '.join(suffixes_of(RUNTIMES))} files")
    return RUNTIMES[facts.name]


def versions() -> dict[str, str]:
    """Runtime -> version, of those that are installed."""
    return {r.name: r.version for r in RUNTIMES.values() if r.version is not None}
