"""What the parts of targets are given and give back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import nn

from export.graph import FileGraph
from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.runs import SCORES
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, FormOptions

FORMS: dict[str, FormOptions] = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}


@dataclass(frozen=True)
class Origin:
    """Whose weights a file holds, for the fields that its format has; "" where nobody said.

    license: an SPDX identifier, or words. version: the kit's, and the checkpoint's digest.
    """

    author: str = ""
    license: str = ""
    version: str = "1"


@dataclass(frozen=True)
class ModelInfo:
    """What a lowering writes into the file beside the network.

    labels: of its outputs, in order. classifier: they are classes of the image; kind: of network,
    for people. answer: what the file gives of a network of maps, scores or classes. For one that
    observes ranges of its own: precision, the file's; images, uint8 (N, H, W, 3), what it observes
    them on.
    """

    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    origin: Origin = Origin()
    classifier: bool = True
    kind: str = "image classifier"
    answer: str = SCORES
    precision: str = ""
    images: np.ndarray | None = None


def common_path(module: nn.Module) -> str:
    """The network's module that a form's module is of: all its named tensors share this path."""
    names = (getattr(m, "tensor", getattr(m, "makes", "")) for m in module.modules())
    paths = [name.partition(":")[0].split(".") for name in names if name]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


@dataclass(frozen=True)
class Runner:
    """A loaded file: `run` maps float32 (1, 3, H, W) to float32 logits (K,), of maps (K, h, w), or
    to the map of classes, uint8 (h, w), where that is what the file gives.

    description: what runs it, with version, as shown in reports.
    """

    description: str
    run: Callable[[np.ndarray], np.ndarray]

    def run_many(self, x: np.ndarray) -> np.ndarray:
        """float32 (N, 3, H, W) to what `run` gives, (N, …), an image at a time as on a phone."""
        return np.stack([self.run(image[None]) for image in x])


@dataclass(frozen=True)
class GpuRun:
    """What a GPU made of a file.

    outputs: float32 (N, K), None where it failed: `error` is then why, as one line. whole: every op
    ran there; outside: the ops that it doesn't take, by name, and why; on_cpu: how many ops ran on
    the processor instead, None where that isn't known. adapter: the GPU's name; description: what
    ran the file, with version.
    """

    adapter: str
    description: str
    outputs: np.ndarray | None = None
    whole: bool = False
    outside: Mapping[str, str] = field(default_factory=dict)
    on_cpu: int | None = None
    error: str | None = None


class Taps(Protocol):
    """A runtime's way to a file's tensors, which are named and laid out as in the file.

    graph: the file's; description: what runs it. as_is: whether `run` alone runs the file, with
    nothing of it rewritten for the taps. run: the `wanted` tensors, as the file holds them, on the
    image `x`, float32 (1, 3, H, W); `given` values, as the file holds them, take a tensor's place
    for all that read it. constant: a stored tensor's codes or values. settings: what the op that
    makes a tensor is set to.
    """

    graph: FileGraph
    description: str
    as_is: bool

    def run(
        self, x: np.ndarray, wanted: Collection[str], given: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]: ...

    def constant(self, name: str) -> np.ndarray | None: ...

    def settings(self, output: str) -> dict[str, float | str]: ...


@dataclass(frozen=True)
class SubProgram:
    """Some ops of a file as a program of their own.

    run: computes once; inputs: what it computes on, chosen at random; outputs: of the last run.
    """

    run: Callable[[], object]
    inputs: tuple[np.ndarray, ...]
    outputs: Callable[[], tuple[np.ndarray, ...]]


class Cutter(Protocol):
    """A model file that comes apart; nodes are numbered as in `graph.nodes`.

    weights: constant -> published weight, where the file itself doesn't tell. signature: equal for
    sub-programs that cost the same. program, whole_program: some nodes, or all, to be run.
    """

    graph: FileGraph
    weights: dict[str, str]

    def signature(self, nodes: tuple[int, ...]) -> str: ...

    def program(self, nodes: tuple[int, ...]) -> SubProgram: ...

    def whole_program(self) -> SubProgram: ...
