"""A file's tensors by their published names, whatever the runtime holds them as."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from export.diff.taps_names import Naming, NoMatch, name_tensors
from export.diff.taps_program import ProgramTaps
from export.graph import DEPTHWISE, PROGRAM_FACTS, FileGraph, FileNode, FileTensor
from export.targets.base import FORMS, Taps
from mobilemod.evaluation.agreement import sqnr_db

PROGRAM = PROGRAM_FACTS.name
NO_SIGNAL_DB = -300.0
WIDE = "int16"


@dataclass(frozen=True)
class TappedTensor:
    """One tensor of one run, in the published layout: (1, C, H, W), or (heads, …) in attention.

    values: int8 or int16 codes, or float32. scale: None where it is real.
    """

    name: str
    values: np.ndarray
    scale: float | None = None
    zero_point: int = 0

    @property
    def real(self) -> np.ndarray:
        """What the codes stand for, float64."""
        if self.scale is None:
            return self.values.astype(np.float64)
        return (self.values.astype(np.float64) - self.zero_point) * self.scale

    def codes(self, scale: float, zero_point: int, dtype: str = "int8") -> np.ndarray:
        """The codes, float64; of a real tensor the nearest ones under these parameters."""
        if self.scale is not None:
            return self.values.astype(np.float64)
        steps = np.rint(self.values.astype(np.float64) / scale) + zero_point
        limits = np.iinfo(dtype)
        return np.clip(steps, limits.min, limits.max)


class NamedTaps:
    """A file, or the program, whose tensors go by their published names.

    program: what it was lowered from; names: published tensor -> the file's tensor, in the
    network's order; int8: whether it holds codes.
    """

    def __init__(
        self, label: str, form: str, taps: Taps, program: ProgramTaps, naming: Naming
    ) -> None:
        self.label = label
        self.form = form
        self.taps = taps
        self.program = program
        self.naming = naming
        self.names = naming.names
        self.makers = {o: node for node in taps.graph.nodes for o in node.outputs}
        self.int8 = is_int8(taps.graph)
        self.half = any(t.dtype == "float16" for t in taps.graph.tensors.values())

    def tensors(
        self,
        x: np.ndarray,
        wanted: Collection[str],
        given: Mapping[str, TappedTensor] | None = None,
    ) -> dict[str, TappedTensor]:
        """`wanted` tensors by published name on the image `x`, float32 (1, 3, H, W).

        given: values that take a tensor's place for all that read it; real values become codes
        where this file has codes, and the other way round.
        """
        held = {self.names[n]: self._held(n, t) for n, t in (given or {}).items()}
        found = self.taps.run(x, {self.names[name] for name in wanted}, held)
        tapped = {}
        for name in wanted:
            tensor = self.tensor(name)
            scale, zero = parameters(tensor)
            tapped[name] = TappedTensor(
                name, self._published(name, found[tensor.name]), scale, zero
            )
        return tapped

    def tensor(self, name: str) -> FileTensor:
        """The file's tensor of a published name."""
        return self.taps.graph.tensors[self.names[name]]

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """float32 (K,), of maps (K, h, w), of the untouched graph."""
        outputs = self.taps.graph.outputs
        last = "logits" if "logits" in outputs else outputs[0]
        values = self.taps.run(x, {last})[last].astype(np.float32)
        own = self.program.graph
        shape = own.tensors[own.outputs[0]].shape
        if self._moved(shape, values.shape):
            values = np.moveaxis(values, -1, 1)
        return values.reshape(shape[1:])

    def _shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape in the form that the file was made from."""
        return self.program.graph.tensors[self.program.names[name]].shape

    def in_form(self, name: str, values: np.ndarray) -> np.ndarray:
        """Published values as the file's form lays them out, and the other way round.

        Attention's result is (heads, width, positions) in Core ML's form.
        """
        turned = name.endswith(":context") and not FORMS[self.form].channels_last
        return values.swapaxes(-1, -2) if turned else values

    def _channels_last(self, name: str) -> bool:
        return self._moved(self._shape(name), self.tensor(name).shape)

    def _moved(self, shape: tuple[int, ...], held: tuple[int, ...]) -> bool:
        """Whether values of `shape` in the form are held channels last."""
        moved = len(shape) == 4 and held == (shape[0], *shape[2:], shape[1])
        return moved and self.taps.graph.facts.channels_last

    def _published(self, name: str, values: np.ndarray) -> np.ndarray:
        if self._channels_last(name):
            values = np.moveaxis(values, -1, 1)
        return self.in_form(name, values.reshape(self._shape(name)))

    def _held(self, name: str, given: TappedTensor) -> np.ndarray:
        """The way back of `_published`."""
        tensor = self.tensor(name)
        scale, zero = parameters(tensor)
        if scale is None:
            values = given.real.astype(np.float32)
        else:
            dtype = WIDE if tensor.dtype == WIDE else "int8"
            values = given.codes(scale, zero, dtype).astype(dtype)
        values = self.in_form(name, values)
        if self._channels_last(name):
            values = np.moveaxis(values, 1, -1)
        return values.reshape(tensor.shape)


def parameters(tensor: FileTensor) -> tuple[float | None, int]:
    """(scale, zero point) of an activation; (None, 0) of a real one."""
    if not tensor.scale:
        return None, 0
    return tensor.scale[0], (tensor.zero_point or (0,))[0]


def is_int8(graph: FileGraph) -> bool:
    """Whether any tensor is held as codes."""
    return any(t.scale for t in graph.tensors.values())


def real_constant(taps: Taps, name: str) -> np.ndarray | None:
    """The real values of a stored tensor, float64, in the file's layout; None for any other.

    An integer bias without a scale of its own stays in its steps.
    """
    values, tensor = taps.constant(name), taps.graph.tensors[name]
    if values is None:
        return None
    if not tensor.scale or tensor.dtype in ("int32", "int64"):
        return values.astype(np.float64)
    shape = [1] * values.ndim
    if len(tensor.scale) > 1:
        shape[tensor.axis or 0] = -1
    scale = np.array(tensor.scale, np.float64).reshape(shape)
    zero = np.array(tensor.zero_point or 0, np.float64)
    return (values - (zero.reshape(shape) if zero.size > 1 else zero)) * scale


def conv_weight(taps: Taps, node: FileNode) -> np.ndarray:
    """A convolution's real weight as published, float64 (out, in / groups, rows, columns)."""
    weight = real_constant(taps, node.inputs[1])
    if weight is None:
        raise NoMatch(f"the weight of {node.outputs[0]} is not stored")
    if taps.graph.facts.channels_last:
        return weight.transpose((3, 0, 1, 2) if node.op == DEPTHWISE else (0, 3, 1, 2))
    return weight


def name_file(label: str, form: str, taps: Taps, program: ProgramTaps) -> NamedTaps:
    """A file lowered from `program`, whose form is called `form`; `NoMatch` where it wasn't."""
    naming = name_tensors(
        program,
        taps.graph,
        lambda node: conv_weight(program, node),
        lambda node: conv_weight(taps, node),
    )
    return NamedTaps(label, form, taps, program, naming)


def name_program(form: str, program: ProgramTaps) -> NamedTaps:
    """The program itself."""
    steps = {node.outputs[0]: node for node in program.graph.nodes}
    return NamedTaps(PROGRAM, form, program, program, Naming(program.names, steps))


@dataclass(frozen=True)
class Difference:
    """How two tensors differ: the share of codes (or real values) that aren't equal, the largest
    difference in steps (of real values, as a share of the largest one), SQNR in dB (None: equal,
    -300: no signal in the first, or not finite).
    """

    share: float
    largest: float
    sqnr_db: float | None


def difference(one: TappedTensor, other: TappedTensor) -> Difference:
    """How `other` differs from `one`; a real tensor beside codes is compared by its nearest."""
    coded = one if one.scale is not None else other
    a, b = one.real, other.real
    if coded.scale is None:
        left, right = a, b
        unit = max(float(np.abs(a).max()), 1e-30)
    else:
        held = (coded.scale, coded.zero_point, str(coded.values.dtype))
        left, right = (t.codes(*held) for t in (one, other))
        unit = 1.0
    share = float((left != right).mean())
    largest = float(np.abs(left - right).max()) / unit
    decibel = sqnr_db(a.reshape(1, -1), b.reshape(1, -1))
    if decibel == math.inf:
        return Difference(share, largest, None)
    return Difference(share, largest, decibel if math.isfinite(decibel) else NO_SIGNAL_DB)
