"""What any tool's model file answers on a folder of images, over worker processes, cached."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import PIL

from benchmarks.rounds import MAX_REASON
from mobilemod.closure import code_digest
from mobilemod.data.imagefolder import ImageFolder, read_batch
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import atomic_path, file_sha256
from mobilemod.progress import progress
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


@dataclass(frozen=True)
class _Part:
    start: int
    logits: np.ndarray
    kept: np.ndarray
    runtime: str


def answer(path: Path, folder: ImageFolder, preprocess: Preprocess, how: str = "") -> Answer:
    """Run a `.pte`, `.tflite`, `.onnx`, `.mlpackage` or `.minmax` on every image of `folder`.

    how: `EXACT` for a `.onnx`, or "". A file that its runtime refuses, or that crashes it, gives a
    reason; each file has processes of its own, so that it takes no other with it. Every
    chunk's logits are cached by the content of file and images.
    """
    total = len(folder.samples)
    key = _file_key(path, preprocess, how)
    parts: list[_Part] = []
    try:
        with worker_pool() as pool:
            futures = []
            for start in range(0, total, CHUNK):
                chunk = folder.subset(list(range(start, min(start + CHUNK, total))))
                futures.append(pool.submit(_run_chunk, path, chunk, start, preprocess, how, key))
            for done in progress(as_completed(futures), path.name, len(futures), f"{CHUNK} img"):
                parts.append(done.result())
    except WorkerDied:
        return Answer(None, [], "", "the runtime crashed on it")
    except UserError as error:
        reason = str(error).replace(f"{path}: ", "").splitlines()[0]
        return Answer(None, [], "", reason[:MAX_REASON])
    parts = sorted((p for p in parts if len(p.kept)), key=lambda p: p.start)
    kept = [int(p.start + i) for p in parts for i in p.kept]
    if not kept:
        raise UserError(f"{folder.root}: no image could be read")
    return Answer(np.concatenate([p.logits for p in parts]), kept, parts[0].runtime)


def _file_key(path: Path, preprocess: Preprocess, how: str) -> str:
    parts = [file_sha256(path), preprocess.to_dict(), how, PIL.__version__, code_digest(__name__)]
    parts += [f"{name} {_version(name)}" for name in RUNTIMES]
    return json.dumps(parts, sort_keys=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _run_chunk(
    path: Path, images: ImageFolder, start: int, preprocess: Preprocess, how: str, key: str
) -> _Part:
    cached = cache_path("answers", f"{key} {images.digest()}", ".npz")
    if cached.exists():
        with np.load(cached) as found:
            return _Part(start, found["logits"], found["kept"], str(found["runtime"]))
    indices, pixels, _ = read_batch(images, preprocess)
    kept = np.array(indices, np.int64)
    run, runtime = _runner(path, how)
    logits = np.zeros((0, 0), np.float32)
    if pixels:
        logits = run(preprocess.normalize(np.stack(pixels))).astype(np.float32)
    with atomic_path(cached) as temporary, temporary.open("wb") as f:
        np.savez(f, logits=logits, kept=kept, runtime=np.array(runtime))
    return _Part(start, logits, kept, runtime)


@functools.cache
def _runner(path: Path, how: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """(float32 (N, 3, S, S) to float32 (N, K), the runtime's name), loaded once per process."""
    if path.suffix == ".mlpackage":
        import torch

        from benchmarks.mil_network import MilNetwork

        version = _version("coremltools")
        text = f"MIL interpreter (not Core ML), torch {torch.__version__}, coremltools {version}"
        return MilNetwork(path).logits, text
    if path.suffix == ".minmax":
        from benchmarks.minmax import load_minmax

        return load_minmax(path)
    from benchmarks.loaded import load, load_onnx

    if path.suffix == ".onnx" and how == EXACT:
        file = load_onnx(path, 1, {EXACT_OPTION: "1"})
        return file.logits, f"{file.runtime}, {EXACT_OPTION}"
    file = load(path, 1)
    return file.logits, file.runtime
