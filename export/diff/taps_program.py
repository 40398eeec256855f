"""The quantized program (or a mobile form) in torch, with its tensors within reach.

One run is recorded op by op. The record is the network's graph, with the published names in place,
and is run again from any of its tensors: what the other runtimes' tensors are named and judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from export.graph import (
    CONCAT,
    CONV,
    DEQUANTIZE,
    MATMUL,
    PROGRAM_FACTS,
    QUANTIZE,
    RESHAPE,
    TRANSPOSE,
    FileGraph,
    FileNode,
    FileTensor,
)
from mobilemod.forms.mobile import MobileForm
from mobilemod.forms.mobile_ops import Constant, MergedColumns, MobileNorm, NamedConv2d, Tap

IMAGE = "image"
OPS = {
    "aten.convolution": CONV,
    "aten.bmm": MATMUL,
    "aten.cat": CONCAT,
    "aten._softmax": "softmax",
    "aten.constant_pad_nd": "pad",
    "aten.permute": TRANSPOSE,
    "aten.transpose": TRANSPOSE,
    "aten.view": RESHAPE,
    "aten._unsafe_view": RESHAPE,
    "aten.clone": RESHAPE,
    "quantized_decomposed.quantize_per_tensor": QUANTIZE,
    "quantized_decomposed.dequantize_per_tensor": DEQUANTIZE,
}
Run = Callable[["Call", list[Any]], Tensor]


@dataclass(frozen=True)
class Ref:
    """A tensor among a call's arguments, by name."""

    name: str


@dataclass(frozen=True)
class Call:
    """One recorded op: what torch called, its arguments with tensors as `Ref`, its result's name.

    op: as in `FileGraph`.
    """

    op: str
    function: Callable[..., Tensor]
    args: list[Any]
    options: dict[str, Any]
    inputs: tuple[str, ...]
    output: str


class ProgramTaps:
    """A recorded program.

    names: published tensor -> tensor (of codes where it is int8), in the network's order; moved
    and repeated ones only where they are quantized anew. weights: a convolution's result -> its
    published weight; operands: a constant operand -> its published name. norms: the result of a
    LayerNorm -> what goes in. columns: a weight of merged columns -> where the published kernel
    lies in it. constants: tensors that no image changes, as real values.
    """

    as_is = True
    description = f"the program in PyTorch {torch.__version__}"

    def __init__(self, program: nn.Module, form: MobileForm, size: int):
        recorder = _Recorder()
        x = torch.zeros(1, 3, size, size)
        recorder.name(x, IMAGE)
        marks = _Marks()
        with torch.no_grad(), marks.hooked(program, form), recorder:
            answer = program(x)
        self.calls, self.constants = recorder.folded(IMAGE)
        self.weights = {recorder.name(t): name for t, name in marks.convs}
        self.operands = {recorder.name(t): name for t, name in marks.constants}
        self.norms = {recorder.name(b): recorder.name(a) for a, b in marks.norms}
        self.strides = {name: tensor.stride() for tensor, name in recorder.seen.values()}
        merged = [m for m in form.modules() if isinstance(m, MergedColumns)]
        self.columns = {m.conv.tensor: m.columns for m in merged}
        self.graph = self._graph(recorder, recorder.name(answer))
        self.made = {call.output: call for call in self.calls}
        self.names: dict[str, str] = {}
        for tensor, tap in marks.taps:
            name = recorder.name(tensor)
            call = self.made.get(name)
            if call is not None and call.op == DEQUANTIZE:
                name = call.inputs[0]
            if name not in self.names.values() and self._is_new(name, tap):
                self.names[tap.tensor] = name

    def _is_new(self, name: str, tap: Tap) -> bool:
        """Whether a tap's values are no moved copy of those at another."""
        if tap.source is None:
            return True
        source = self.graph.tensors[self.names[tap.source]]
        return bool(self.graph.tensors[name].scale) and not source.scale

    def _graph(self, recorder: _Recorder, output: str) -> FileGraph:
        tensors = {}
        for tensor, name in recorder.seen.values():
            dtype, constant = str(tensor.dtype).removeprefix("torch."), name in self.constants
            tensors[name] = FileTensor(name, tuple(tensor.shape), dtype, constant=constant)
        for call in self.calls:
            if call.op == QUANTIZE:
                old, (scale, zero) = tensors[call.output], call.args[1:3]
                tensors[call.output] = FileTensor(
                    old.name, old.shape, old.dtype, (float(scale),), (int(zero),)
                )
        nodes = tuple(FileNode(c.op, c.inputs, (c.output,)) for c in self.calls)
        return FileGraph(PROGRAM_FACTS.name, tensors, nodes, (IMAGE,), (output,))

    def run(
        self,
        x: np.ndarray | None,
        wanted: Collection[str],
        given: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """`wanted` tensors on the image `x`, float32 (1, 3, S, S).

        given: values that take a tensor's place for all that read it. With enough of them no
        image is needed.
        """
        values = ({} if x is None else {IMAGE: x}) | dict(given or {})
        placed = {name: self._placed(name, value) for name, value in values.items()}
        found = self.compute(wanted, placed, _plain)
        return {name: value.numpy() for name, value in found.items()}

    def _placed(self, name: str, values: np.ndarray) -> Tensor:
        """The values in the memory order of the recorded tensor, by which torch chooses kernels."""
        given = torch.from_numpy(np.ascontiguousarray(values))
        return torch.empty_strided(given.shape, self.strides[name], dtype=given.dtype).copy_(given)

    @torch.no_grad()
    def compute(
        self, wanted: Collection[str], given: Mapping[str, Tensor], run: Run
    ) -> dict[str, Tensor]:
        """`wanted` tensors from `given` ones, each op computed by `run(call, arguments)`."""
        calls = self.between(given, wanted)
        last = {name: i for i, call in enumerate(calls) for name in call.inputs}
        values = {**self.constants, **given}
        found = {name: values[name] for name in wanted if name in given and name == IMAGE}
        for i, call in enumerate(calls):
            args = [_filled(a, values) for a in call.args]
            y = run(call, args)
            if call.output in wanted:
                found[call.output] = y
            if call.output not in given:
                values[call.output] = y
            for name in set(call.inputs):
                if last[name] == i and name not in self.constants:
                    values.pop(name, None)
        return found

    def between(self, given: Collection[str], wanted: Collection[str]) -> list[Call]:
        """The calls that `wanted` need when `given` are known."""
        needed, kept = set(wanted), []
        for call in reversed(self.calls):
            if call.output in needed:
                kept.append(call)
                needed.update(name for name in call.inputs if name not in given)
        return kept[::-1]

    def constant(self, name: str) -> np.ndarray | None:
        """Values of a tensor that no image changes."""
        value = self.constants.get(name)
        return None if value is None else value.detach().numpy()

    def settings(self, output: str) -> dict[str, float | str]:
        """What the op that makes `output` is set to beside its tensors: GELU's kind, a norm's
        eps."""
        call = self.made.get(output)
        if call is not None and call.op == "gelu":
            kind = call.options.get("approximate", "none")
            return {"GELU": "exact" if kind == "none" else f"{kind} approximation"}
        if call is not None and call.op == "add" and isinstance(call.args[1], float):
            return {"eps": call.args[1]}
        return {}


def _plain(call: Call, args: list[Any]) -> Tensor:
    return call.function(*args, **call.options)


def _filled(value: Any, values: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list | tuple):
        return [_filled(v, values) for v in value]
    return value


class _Recorder(TorchDispatchMode):
    """Records every op that torch runs; tensors are kept alive, so that each has one identity."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, tuple[Tensor, str]] = {}
        self.calls: list[Call] = []

    def name(self, tensor: Tensor, name: str = "") -> str:
        """The tensor's name, given to it at first sight."""
        return self.seen.setdefault(id(tensor), (tensor, name or f"v{len(self.seen)}"))[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs: list[str] = []

        def refer(value: Any) -> Any:
            if isinstance(value, Tensor):
                inputs.append(self.name(value))
                return Ref(inputs[-1])
            return [refer(v) for v in value] if isinstance(value, list | tuple) else value

        if isinstance(out, Tensor):
            kind = str(func).removesuffix(".default").removesuffix(".Tensor")
            kind = kind.removesuffix(".int").removesuffix(".dim")
            op = OPS.get(kind, kind.removeprefix("aten."))
            referred = [refer(a) for a in args]
            self.calls.append(Call(op, func, referred, kwargs or {}, tuple(inputs), self.name(out)))
        return out

    def folded(self, image: str) -> tuple[list[Call], dict[str, Tensor]]:
        """The calls that depend on the image, and the values of all other tensors."""
        moving, calls = {image}, []
        for call in self.calls:
            if moving.intersection(call.inputs):
                moving.add(call.output)
                calls.append(call)
        return calls, {n: t.detach() for t, n in self.seen.values() if n not in moving}


class _Marks:
    """Which tensors of the run bear names."""

    def __init__(self) -> None:
        self.taps: list[tuple[Tensor, Tap]] = []
        self.convs: list[tuple[Tensor, str]] = []
        self.constants: list[tuple[Tensor, str]] = []
        self.norms: list[tuple[Tensor, Tensor]] = []

    @contextmanager
    def hooked(self, program: nn.Module, form: MobileForm) -> Iterator[None]:
        """Notes tensors as `program`, made from `form`, runs; a float tap is no module of it."""
        handles = []
        for path, module in form.named_modules():
            hook = None
            if isinstance(module, Tap):
                hook = _noting(self.taps, module)
            elif isinstance(module, NamedConv2d):
                hook = _noting(self.convs, module.tensor)
            elif isinstance(module, Constant):
                hook = _noting(self.constants, module.tensor)
            elif isinstance(module, MobileNorm):
                hook = self._note_norm
            if hook is not None:
                handles.append(program.get_submodule(path).register_forward_hook(hook))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note_norm(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        self.norms.append((args[0], out))


def _noting(notes: list[tuple[Tensor, Any]], note: Any) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        notes.append((out, note))

    return hook
