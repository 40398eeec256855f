"""A model file, loaded by its runtime and ready to run on images in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from export.quiet import quiet
from mobilemod.errors import UserError


@dataclass(frozen=True)
class Loaded:
    """prepare(x): float32 (1, 3, S, S) to what the file takes: layout and number format.

    run(prepared): one inference from there, giving float32 logits (K,), of maps in the file's own
    layout. This is what is timed: it includes handing the input over and fetching the output, for
    every runtime alike.
    """

    runtime: str
    prepare: Callable[[np.ndarray], Any]
    run: Callable[[Any], np.ndarray]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, K), or maps (N, …), of float32 (N, 3, S, S)."""
        return np.stack([self.run(self.prepare(x[None])) for x in images])


def load(path: Path, threads: int) -> Loaded:
    """Load a `.pte`, `.tflite` or `.onnx`. The thread count holds for every `.pte` of the process.

    Raises `UserError` where the runtime refuses the file.
    """
    return {".pte": _load_pte, ".tflite": _load_tflite, ".onnx": load_onnx}[path.suffix](
        path, threads
    )


def _load_pte(path: Path, threads: int) -> Loaded:
    from export.targets.executorch.running import load as load_executorch

    with quiet():
        # Ops for a file that quantizes or dequantizes outside the delegate.
        import executorch.kernels.quantized  # noqa: F401

        runner = load_executorch(path, threads)
    return Loaded(runner.description, np.ascontiguousarray, runner.run)


def _load_tflite(path: Path, threads: int) -> Loaded:
    from export.targets.tflite.running import open_interpreter

    interpreter = open_interpreter(path, threads)
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    channels_last = source["shape"][-1] == 3

    def prepare(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if channels_last else x)
        return x if source["dtype"] == np.float32 else _codes(x, source)

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        y = interpreter.get_tensor(target["index"])[0]
        scale, zero_point = target["quantization"]
        if target["dtype"] == np.float32 or scale == 0:  # a map of classes
            return y
        return (y.astype(np.float32) - zero_point) * np.float32(scale)

    return Loaded(f"LiteRT {metadata.version('ai-edge-litert')}, XNNPACK", prepare, run)


def _codes(x: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """`x` in a quantized input tensor's integers."""
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.round(x / scale) + zero_point, limits.min, limits.max).astype(tensor["dtype"])


def load_onnx(path: Path, threads: int, entries: Mapping[str, str] | None = None) -> Loaded:
    """Load a `.onnx`; entries: session options by their names. Raises `UserError` as `load`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads spin while a run lasts, as by default (two threads are slower without), but no
    # longer: they would slow down the candidates beside them.
    for name, value in {"session.force_spinning_stop": "1", **(entries or {})}.items():
        options.add_session_config_entry(name, value)
    try:
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions have no common class
        raise UserError(f"{path}: ONNX Runtime refuses it: {str(error).splitlines()[0]}") from None
    name = session.get_inputs()[0].name

    def run(x: np.ndarray) -> np.ndarray:
        return session.run(None, {name: x})[0][0]

    return Loaded(f"ONNX Runtime {onnxruntime.__version__}", np.ascontiguousarray, run)


def describe(path: Path) -> dict[str, Any]:
    """Bytes of the file, and of a `.pte` or `.tflite` the delegate's calls and the ops outside."""
    facts: dict[str, Any] = {"bytes": path.stat().st_size, "partitions": None, "outside": None}
    if path.suffix != ".onnx":
        from export.targets.target import target_of_file

        graph = target_of_file(path).read_graph(path)
        outside = Counter(n.op for n in graph.nodes if n.partition is None)
        facts |= {"partitions": graph.partitions, "outside": dict(outside.most_common())}
    return facts
