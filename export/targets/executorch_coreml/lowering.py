"""ExecuTorch with Core ML: a mobile form or its quantized program as one ML program in a `.pte`.

The ML program is converted as the `.mlpackage`'s is, so both hold the same ops, scales and codes;
it takes the normalized tensor and gives the logits, as a delegate is called with tensors.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.quiet import quiet
from export.targets.base import ModelInfo
from export.targets.coreml.evaluator import LOGITS
from export.targets.coreml.program import convert, write_package
from export.targets.coreml.reader import INPUT_NAME
from export.targets.executorch.notes import METADATA_METHOD, notes, relabel
from export.targets.executorch_coreml.payload import BACKEND, METADATA, PACKAGE, packed
from mobilemod.files import atomic_path

NAMESPACE = uuid.UUID("0b7a5c0e-8d0f-5d2e-9a4c-5f0e3c1d2b6a")


class Network(nn.Module):
    """A network by the name of its input in the file."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


class Edges(nn.Module):
    """What has the network's input and output and nothing else: all that ExecuTorch is to know of
    a program that lies in the delegate whole."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("zeros", torch.zeros(shape))

    def forward(self, image: Tensor) -> Tensor:
        return self.zeros + image.mean()


class Called(nn.Module):
    """A call of a delegate's module."""

    def __init__(self, delegate: nn.Module):
        super().__init__()
        self.delegate = delegate

    def forward(self, image: Tensor) -> Tensor:
        return self.delegate(image)


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write `module` as a `.pte` with one call of Core ML's delegate, for iOS 17, float16.

    int8: `module` is a quantized program with folded weights. The method "metadata" returns labels
    and preprocessing, as in the other `.pte`. The same inputs give the same bytes.
    """
    import coremltools as ct

    shape = (1, *info.preprocess.shape)
    with quiet():
        model = convert(
            Network(module).eval(),
            shape,
            inputs=[ct.TensorType(INPUT_NAME, shape=shape, dtype=np.float32)],
            outputs=[ct.TensorType(LOGITS, dtype=np.float32)],
        )
        with tempfile.TemporaryDirectory() as name:
            package = Path(name) / PACKAGE
            package.joinpath("Data/com.apple.CoreML").mkdir(parents=True)
            write_package(model.get_spec(), Path(model.weights_dir), package, int8)
            files = {
                p.relative_to(name).as_posix(): p.read_bytes()
                for p in sorted(package.rglob("*")) if p.is_file()
            }  # fmt: skip
        with torch.no_grad():
            outputs = tuple(module.eval()(torch.zeros(shape)).shape)
        content = _program(_block(files), (shape, outputs), info)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the `.pte` at `source` to `path` with other labels and name: the same program."""
    del int8
    relabel(source, info, path)


def _block(files: dict[str, bytes]) -> bytes:
    """The package as the delegate takes it. The system keeps what it compiled under the identifier,
    which is the contents' own."""
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(name.encode() + hashlib.sha256(data).digest())
    told = {
        "inputNames": [INPUT_NAME],
        "outputNames": [LOGITS],
        "identifier": f"executorch_{uuid.uuid5(NAMESPACE, digest.hexdigest())}",
    }
    return packed({**files, METADATA: json.dumps(told).encode()})


def _program(block: bytes, shapes: tuple[tuple[int, ...], tuple[int, ...]], info: ModelInfo) -> Any:
    """The `.pte`'s bytes; shapes: of its input and output."""
    import coremltools as ct
    from executorch.exir import EdgeCompileConfig, to_edge
    from executorch.exir.backend.compile_spec_schema import CompileSpec
    from executorch.exir.lowered_backend_module import LoweredBackendModule

    image = (torch.zeros(shapes[0]),)
    config = EdgeCompileConfig(_check_ir_validity=False)
    settings = {
        "compute_units": "all",
        "min_deployment_target": str(ct.target.iOS17.value),
        "model_compute_precision": ct.precision.FLOAT16.value,
        "model_type": "model",
    }
    with torch.no_grad():
        edges = to_edge(torch.export.export(Edges(shapes[1]), image), compile_config=config)
        delegate = LoweredBackendModule(
            edges.exported_program(),
            BACKEND,
            block,
            [CompileSpec(key, value.encode()) for key, value in settings.items()],
        )
        program = to_edge(
            torch.export.export(Called(delegate), image),
            constant_methods={METADATA_METHOD: notes(info)},
            compile_config=config,
        )
        return program.to_executorch().buffer
