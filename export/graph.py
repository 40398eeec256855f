"""What is in a model file, in one form for all runtimes: tensors, nodes, delegate partitions."""

from __future__ import annotations

from dataclasses import dataclass

# Op names that every reader uses; others keep the runtime's own name in lower case.
QUANTIZE, DEQUANTIZE = "quantize", "dequantize"
CONV, DEPTHWISE, LINEAR, MATMUL = "conv", "depthwise_conv", "linear", "matmul"
TRANSPOSE, RESHAPE, CONCAT = "transpose", "reshape", "concat"


@dataclass(frozen=True)
class FileTensor:
    """One tensor of a file.

    dtype: "float32", "float16", "int8", "uint8", "int32"…; scale and zero_point: empty when the
    tensor is not quantized; axis: its channel axis, None per tensor; constant: stored in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int | None = None
    constant: bool = False


@dataclass(frozen=True)
class FileNode:
    """One op: tensor names in and out, multiply-accumulates, the delegate partition it runs in.

    partition: None where it runs outside every delegate.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int = 0
    partition: int | None = None


@dataclass(frozen=True)
class FileGraph:
    """A model file's graph; `partitions` counts delegate calls, None where none is known."""

    target: str
    tensors: dict[str, FileTensor]
    nodes: tuple[FileNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    partitions: int | None = None
