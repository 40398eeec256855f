"""A model file's tensors by their published names, whatever the runtime holds them as."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.bundle_parts import OpenedBundle
from export.diff.taps_names import Naming, NoMatch, name_tensors
from export.diff.taps_program import ProgramTaps
from export.graph import DEPTHWISE, PROGRAM_FACTS, FileGraph, FileNode, FileTensor
from export.targets.base import FORMS, Taps
from export.targets.target import target_of_file
from mobilemod.errors import UserError
from mobilemod.manifest import Bundle
from quantization.params import ACTIVATION_MAX, ACTIVATION_MIN

PROGRAM = PROGRAM_FACTS.name
# Of the weights' power: int8 rounding leaves 1e-4, weights of another training 1 and more.
MAX_WEIGHT_ERROR = 0.1


@dataclass(frozen=True)
class TappedTensor:
    """One tensor of one run, in the published layout: (1, C, H, W), or (heads, …) in attention.

    values: int8 codes, or float32. scale: None where it is real.
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

    def codes(self, scale: float, zero_point: int) -> np.ndarray:
        """The codes, float64; of a real tensor the nearest ones under these parameters."""
        if self.scale is not None:
            return self.values.astype(np.float64)
        steps = np.rint(self.values.astype(np.float64) / scale) + zero_point
        return np.clip(steps, ACTIVATION_MIN, ACTIVATION_MAX)


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
        """`wanted` tensors by published name on the image `x`, float32 (1, 3, S, S).

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
        """float32 (K,), of the untouched graph."""
        outputs = self.taps.graph.outputs
        last = "logits" if "logits" in outputs else outputs[0]
        return self.taps.run(x, {last})[last].reshape(-1).astype(np.float32)

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
        shape, held = self._shape(name), self.tensor(name).shape
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
            values = given.codes(scale, zero).astype(np.int8)
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

    An int32 bias without a scale of its own stays in its steps.
    """
    values, tensor = taps.constant(name), taps.graph.tensors[name]
    if values is None:
        return None
    if not tensor.scale or tensor.dtype == "int32":
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


class BundleTaps:
    """The network of a bundle, which opens its files and its programs with their tensors named."""

    def __init__(self, bundle: Bundle):
        self.bundle, self.opened = bundle, OpenedBundle(bundle)
        self.recorded: dict[tuple[str, bool], ProgramTaps] = {}

    def file(self, path: Path) -> NamedTaps:
        """A model file of this network. Raises `UserError` where it is damaged, or another's."""
        if not path.exists():
            raise UserError(f"no such model file: {path}")
        target = target_of_file(path)
        taps = target.open_taps(path)
        shape, size = taps.graph.tensors[taps.graph.inputs[0]].shape, self.bundle.preprocess.size
        if sorted(shape) != sorted((1, 3, size, size)):
            raise UserError(
                f"{path}: takes {shape}, the images of {self.bundle.folder} are {size} pixels"
            )
        form = target.facts.form
        program = self._record(form, is_int8(taps.graph))
        try:
            naming = name_tensors(
                program,
                taps.graph,
                lambda node: conv_weight(program, node),
                lambda node: conv_weight(taps, node),
            )
        except NoMatch as error:
            raise UserError(
                f"{path}: its tensors can't be named, it isn't a file of the "
                f"{self.bundle.manifest.model} in {self.bundle.folder}: {error}"
            ) from None
        self._check_weights(path, taps, program, naming)
        return NamedTaps(path.name, form, taps, program, naming)

    def program(self, form: str, int8: bool) -> NamedTaps:
        """The quantized program of a form, or the form in float."""
        program = self._record(form, int8)
        steps = {node.outputs[0]: node for node in program.graph.nodes}
        return NamedTaps(PROGRAM, form, program, program, Naming(program.names, steps))

    def _record(self, form: str, int8: bool) -> ProgramTaps:
        if (form, int8) not in self.recorded:
            mobile = self.opened.mobile(form, int8)
            program = self.opened.program(form) if int8 else mobile
            size = self.bundle.preprocess.size
            self.recorded[form, int8] = ProgramTaps(program, mobile, size)
        return self.recorded[form, int8]

    def _check_weights(self, path: Path, taps: Taps, program: ProgramTaps, naming: Naming) -> None:
        """`UserError` where most weights are another network's."""
        own = {node.outputs[0]: node for node in program.graph.nodes}
        errors = []
        for output in program.weights:
            if output in naming.steps:
                weight = conv_weight(program, own[output])
                difference = np.square(conv_weight(taps, naming.steps[output]) - weight).sum()
                errors.append(difference / max(np.square(weight).sum(), 1e-30))
        if not np.median(errors) < MAX_WEIGHT_ERROR:
            raise UserError(f"{path}: its weights aren't the network's in {self.bundle.folder}")
