"""What a user would get without this project: every tool's own route, and a cache of its files.

A route starts from the published form of the network. Those marked "mobile" start from the mobile
form instead, to tell what the form brings from what the lowering brings.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.routes import minmax
from benchmarks.routes import plain_coreml as coreml
from benchmarks.routes import plain_onnx as onnx
from benchmarks.routes import plain_torch as plain
from benchmarks.routes.network import CalibratedNetwork
from export.quiet import quiet
from mobilemod.closure import code_digest
from mobilemod.errors import UserError
from mobilemod.files import atomic_folder
from mobilemod.workers import WorkerDied, worker_pool
from quantization.calibration import cache_dir

PUBLISHED, MOBILE = "published", "mobile"
FORM_MODULES = ("benchmarks.routes.network",)  # that make the mobile form
FLOAT, INT8, DYNAMIC = "float32", "int8", "int8 weights"
EXECUTORCH = ("torch", "torchao", "executorch")
LITERT = ("torch", "torchao", "litert-torch")
AEQ = (*LITERT, "ai-edge-quantizer")
TORCH_ONNX = ("torch", "onnx", "onnxscript")
ORT = (*TORCH_ONNX, "onnxruntime")
COREML = ("torch", "coremltools")


@dataclass(frozen=True)
class Route:
    """One way to a file.

    tool: shown to people. build(network, path, *files of `needs`) writes the file, or a folder
    for a route that others need. packages: those that must be there and decide the bytes.
    shown: whether it is a candidate of its own.
    """

    name: str
    tool: str
    precision: str
    suffix: str
    packages: tuple[str, ...]
    build: Callable[..., None]
    form: str = PUBLISHED
    needs: tuple[str, ...] = ()
    shown: bool = True


def _per_tensor() -> list[Route]:
    """One scale per tensor, for `benchmarks.outliers`; no candidates for speed."""
    return [
        Route("minmax", "simulated", INT8, ".minmax", ("torch",), minmax.build, shown=False),
        Route(
            "executorch-int8-per-tensor",
            "ExecuTorch, one scale per tensor",
            INT8,
            ".pte",
            EXECUTORCH,
            functools.partial(plain.executorch_int8, per_channel=False),
            shown=False,
        ),
        Route(
            "onnxruntime-int8-default",
            "ONNX Runtime, no option set",
            INT8,
            ".onnx",
            ORT,
            onnx.ort_int8_default,
            needs=("onnxruntime-float32",),
            shown=False,
        ),
    ]


def _coreml() -> list[Route]:
    """coremltools' files, for `benchmarks.accuracy`; this machine can't time them."""
    kind = {"suffix": ".mlpackage", "packages": COREML, "shown": False}
    needs = ("coremltools-float16",)
    return [
        Route(needs[0], "coremltools", "float16", build=coreml.coreml_float, **kind),
        Route(
            "coremltools-int8", "coremltools", INT8, build=coreml.coreml_int8, needs=needs, **kind
        ),
        Route(
            "coremltools-int8-all",
            "coremltools, ranges of all images",
            INT8,
            build=coreml.coreml_int8_all_images,
            needs=needs,
            **kind,
        ),
    ]


def _onnx2tf(form: str, source: str) -> list[Route]:
    """The folder that onnx2tf writes of one ONNX file, and a route for each file in it."""
    name = "onnx2tf" if form == PUBLISHED else f"onnx2tf-{form}"
    folder = Route(name, "onnx2tf", "", "", TORCH_ONNX, onnx.onnx2tf_folder, form, (source,), False)
    files = [
        Route(
            f"{name}-{key}",
            "onnx2tf",
            precision,
            ".tflite",
            TORCH_ONNX,
            functools.partial(onnx.onnx2tf_file, key),
            form,
            (name,),
        )
        for key, precision in (("float32", FLOAT), ("int8", INT8), ("dynamic", DYNAMIC))
    ]
    return [folder, *files]


ROUTES: dict[str, Route] = {
    r.name: r
    for r in (
        Route(
            "executorch-float32", "ExecuTorch", FLOAT, ".pte", EXECUTORCH, plain.executorch_float
        ),
        Route("executorch-int8", "ExecuTorch", INT8, ".pte", EXECUTORCH, plain.executorch_int8),
        Route("litert-torch-float32", "litert-torch", FLOAT, ".tflite", LITERT, plain.litert_float),
        Route("litert-torch-int8", "litert-torch PT2E", INT8, ".tflite", LITERT, plain.litert_int8),
        Route(
            "ai-edge-quantizer-int8",
            "ai-edge-quantizer",
            INT8,
            ".tflite",
            AEQ,
            plain.aeq_static,
            needs=("litert-torch-float32",),
        ),
        Route(
            "ai-edge-quantizer-int8-flat",
            "ai-edge-quantizer, biases reshaped",
            INT8,
            ".tflite",
            AEQ,
            plain.aeq_static_flat,
            needs=("litert-torch-float32",),
        ),
        Route(
            "ai-edge-quantizer-dynamic",
            "ai-edge-quantizer",
            DYNAMIC,
            ".tflite",
            AEQ,
            plain.aeq_dynamic,
            needs=("litert-torch-float32",),
        ),
        Route("onnxruntime-float32", "ONNX Runtime", FLOAT, ".onnx", ORT, onnx.onnx_published),
        Route(
            "onnxruntime-int8",
            "ONNX Runtime",
            INT8,
            ".onnx",
            ORT,
            onnx.ort_int8,
            needs=("onnxruntime-float32",),
        ),
        Route(
            "onnxruntime-int8-products",
            "ONNX Runtime, Conv and MatMul only",
            INT8,
            ".onnx",
            ORT,
            onnx.ort_int8_products,
            needs=("onnxruntime-float32",),
        ),
        *_onnx2tf(PUBLISHED, "onnxruntime-float32"),
        Route(
            "onnx-mobile",
            "torch.onnx",
            FLOAT,
            ".onnx",
            TORCH_ONNX,
            onnx.onnx_mobile,
            MOBILE,
            (),
            False,
        ),
        *_onnx2tf(MOBILE, "onnx-mobile"),
        *_per_tensor(),
        *_coreml(),
    )
}


@dataclass(frozen=True)
class Built:
    """A route's file, or why there is none.

    seconds: what building it and what it needs took, 0 from the cache.
    """

    path: Path | None
    reason: str = ""
    seconds: float = 0.0


def build(route: Route, network: CalibratedNetwork) -> Built:
    """The route's file from the cache, or built in a process of its own.

    Nothing that a tool does, a crash included, raises here: it becomes the reason.
    """
    missing = [name for name in route.packages if not _version(name)]
    if missing:
        return Built(None, f"not built: no package {missing[0]} here; run 'make bench-setup'")
    path = cached_path(route, network)
    if path.exists():
        return Built(path)
    start = time.perf_counter()
    files = []
    for name in route.needs:
        needed = build(ROUTES[name], network)
        if needed.path is None:
            return needed
        files.append(needed.path)
    try:
        with worker_pool(1) as pool:
            reason = pool.submit(_build_here, route, network, path, files).result()
    except WorkerDied:
        reason = f"{route.tool}: the process crashed while it built the file"
    seconds = time.perf_counter() - start
    return Built(None, reason, seconds) if reason else Built(path, "", seconds)


def cached_path(route: Route, network: CalibratedNetwork) -> Path:
    """Where the route's file lies, under a hash of all that decides its bytes."""
    function = getattr(route.build, "func", route.build)
    made_by = (function.__module__, network.module, *(FORM_MODULES if route.form == MOBILE else ()))
    parts = {
        "route": route.name,
        "network": network.digest(),
        "packages": {name: _version(name) for name in route.packages},
        "code": code_digest(*made_by),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "latency" / key[:32] / f"model{route.suffix}"


def _build_here(route: Route, network: CalibratedNetwork, path: Path, files: list[Path]) -> str:
    """Build into the cache; "" or the reason of failure."""
    try:
        with quiet(), atomic_folder(path.parent) as folder:
            route.build(network, folder / path.name, *files)
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a tool throws is its row's reason
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def first_line(error: Exception) -> str:
    """The first line of an error's message that isn't empty, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or ["no message"])[0][:300]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
