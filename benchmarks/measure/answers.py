"""What any tool's model file answers on a folder of images, over worker processes, cached."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO

import numpy as np
import PIL

from benchmarks.measure.rounds import MAX_REASON
from export.measure.batches import Batch, cached, over_batches
from mobilemod.closure import code_digest
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.workers import WorkerDied, worker_pool
from quantization.calibration import cache_path

CHUNK = 32
# ONNX Runtime multiplies uint8 by int8 in sums of 16 bits on x86 without VNNI, which saturate. This
# session option, from its own documentation of quantization, makes it take exact kernels there.
EXACT = "exact"
EXACT_OPTION = "session.x64quantprecision"
RUNTIMES = ("torch", "executorch", "ai-edge-litert", "onnxruntime", "coremltools")


@dataclass(frozen=True)
class Answer:
    """float32 (N, K) logits of the images that could be read, or why there are none.

    kept: those images' indices.
    """

    logits: np.ndarray | None
    kept: list[int]
    runtime: str = ""
    reason: str = ""


def answer(path: Path, folder: ImageFolder, preprocess: Preprocess, how: str = "") -> Answer:
    """Run a `.pte`, `.tflite`, `.onnx`, `.mlpackage` or `.minmax` on every image of `folder`.

    how: `EXACT` for a `.onnx`, or "". A file that its runtime refuses, or that crashes it, gives a
    reason; each file has processes of its own, so that it takes no other with it. Every
    chunk's logits are cached by the content of file and images.
    """
    work = functools.partial(_run_chunk, path, how, _file_key(path, preprocess, how))
    try:
        with worker_pool() as pool:
            # Whose answers these are held against judges how many images may be damaged.
            found = over_batches(
                pool, folder, preprocess, CHUNK, work, [None], path.name, most_damaged=1.0
            )
    except WorkerDied:
        return Answer(None, [], "", "the runtime crashed on it")
    except UserError as error:
        reason = str(error).replace(f"{path}: ", "").splitlines()[0]
        return Answer(None, [], "", reason[:MAX_REASON])
    (chunks,) = found.values
    if not chunks:
        raise UserError(f"{folder.root}: no image could be read")
    logits = np.concatenate([logits for logits, _ in chunks])
    return Answer(logits, found.indices, chunks[0][1])


def _file_key(path: Path, preprocess: Preprocess, how: str) -> str:
    parts = [file_sha256(path), preprocess.to_dict(), how, PIL.__version__, code_digest(__name__)]
    parts += [f"{name} {_version(name)}" for name in RUNTIMES]
    return json.dumps(parts, sort_keys=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _run_chunk(path: Path, how: str, key: str, batch: Batch, _: None) -> tuple[np.ndarray, str]:
    """Logits float32 (B, K) of one chunk, and the runtime's name."""
    x = batch.normalized()
    text = f"{key} {hashlib.sha256(x.tobytes()).hexdigest()}"

    def make() -> tuple[np.ndarray, str]:
        run, runtime = _runner(path, how)
        return run(x).astype(np.float32), runtime

    return cached(cache_path("answers", text, ".npz"), make, _load, _save)


def _load(path: Path) -> tuple[np.ndarray, str]:
    with np.load(path) as found:
        return found["logits"], str(found["runtime"])


def _save(file: IO[bytes], chunk: tuple[np.ndarray, str]) -> None:
    logits, runtime = chunk
    np.savez(file, logits=logits, runtime=np.array(runtime))


@functools.cache
def _runner(path: Path, how: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """(float32 (N, 3, S, S) to float32 (N, K), the runtime's name), loaded once per process."""
    if path.suffix == ".mlpackage":
        import torch

        from benchmarks.measure.mil_network import MilNetwork

        version = _version("coremltools")
        text = f"MIL interpreter (not Core ML), torch {torch.__version__}, coremltools {version}"
        return MilNetwork(path).logits, text
    if path.suffix == ".minmax":
        from benchmarks.routes.minmax import load_minmax

        return load_minmax(path)
    from benchmarks.measure.loaded import load, load_onnx

    if path.suffix == ".onnx" and how == EXACT:
        file = load_onnx(path, 1, {EXACT_OPTION: "1"})
        return file.logits, f"{file.runtime}, {EXACT_OPTION}"
    file = load(path, 1)
    return file.logits, file.runtime
