"""What is in a model file, in one form for all runtimes: tensors, nodes, delegate partitions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mobilemod.targets import TARGETS
from mobilemod.targets.facts import Facts

# Op names that every reader uses; others keep the runtime's own name in lower case.
QUANTIZE, DEQUANTIZE = "quantize", "dequantize"
CONV, DEPTHWISE, LINEAR, MATMUL = "conv", "depthwise_conv", "linear", "matmul"
# Their inputs are data, weight, bias, as a convolution's; RECURRENT's are data, then all weights.
CONV_TRANSPOSE, RECURRENT = "conv_transpose", "recurrent"
WEIGHTED = (CONV, DEPTHWISE, CONV_TRANSPOSE, LINEAR, RECURRENT)
# An activation whose scale is found while running, row by row.
DYNAMIC = "dynamic int8"
TRANSPOSE, RESHAPE, CONCAT = "transpose", "reshape", "concat"
# A program in torch, which no file holds, has a graph too.
PROGRAM_FACTS = Facts("program", "", 0, "", "float32", (), "computes in float32")


def shape_text(shape: Iterable[int]) -> str:
    """A shape in words, "1x3x?x?" where dimensions below 0 aren't fixed."""
    return "x".join("?" if n < 0 else str(n) for n in shape)


def fill_of(values: np.ndarray) -> float | None:
    """The number that all values are, None where there is none."""
    plain = values.size > 0 and values.dtype.kind in "iuf"
    return float(values.flat[0]) if plain and bool((values == values.flat[0]).all()) else None


@dataclass(frozen=True)
class FileTensor:
    """One tensor of a file.

    dtype: "float32", "float16", "int8", "uint8", "int4", "int32"…, DYNAMIC; of a constant as it is
    stored. scale and zero_point: empty when the tensor is not quantized; axis: its channel axis,
    None per tensor; constant: stored in the file; fill: the one value, as it is stored, that a
    constant is filled with, None where values differ or aren't known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int | None = None
    constant: bool = False
    fill: float | None = None


@dataclass(frozen=True)
class FileNode:
    """One op: tensor names in and out, multiply-accumulates, the delegate partition it runs in.

    partition: None where it runs outside every delegate. known: whether `macs` is its whole work.
    method: which of the file's methods runs it, "" where there is one. module: the network's
    module that the file itself says it is of, "" where it says none.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int = 0
    partition: int | None = None
    known: bool = True
    method: str = ""
    module: str = ""


@dataclass(frozen=True)
class FileGraph:
    """A model file's graph; `partitions` counts delegate calls, None where none is known.

    opaque: delegates that can't be looked into -> calls. notes: what to know about the figures, a
    sentence each.
    """

    target: str
    tensors: dict[str, FileTensor]
    nodes: tuple[FileNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    partitions: int | None = None
    opaque: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> Facts:
        """What is known of the runtime, `PROGRAM_FACTS` where it is none."""
        return TARGETS.get(self.target, PROGRAM_FACTS)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that the nodes belong to, in the file's order."""
        return tuple(dict.fromkeys(n.method for n in self.nodes))
