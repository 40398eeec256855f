"""The quantized program (or a mobile form) in torch, with its tensors within reach.

One run is recorded op by op. The record is the network's graph, with the published names in place,
and is run again from any of its tensors: what the other runtimes' tensors are named and judged by.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
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
from mobilemod.forms.form import Form
from mobilemod.forms.mobile_ops import (
    Constant,
    MergedColumns,
    MobileDepthwise,
    MobileNorm,
    NamedConv2d,
    Tap,
)
from mobilemod.forms.naming import COMPUTED
from quantization.hooks import forward_hooks

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


# Ops that make values of their own whatever the role: what a convolution reads is named after it.
COMPUTING = ("avg_pool2d", "max_pool2d_with_indices", "upsample_bilinear2d", "upsample_bicubic2d")


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
    LayerNorm -> what goes in. mergings: a weight of merged columns -> how they are merged; splits:
    a depthwise module -> the pieces of its kernel. constants: tensors that no image changes, as
    real values.
    """

    as_is = True
    description = f"the program in PyTorch {torch.__version__}"

    def __init__(self, program: nn.Module, form: Form):
        recorder = _Recorder()
        x = torch.zeros(1, *form.image_shape)
        recorder.name(x, IMAGE)
        # A tap that stays float is another module in the program, and all go by their paths.
        named = {
            program.get_submodule(path): module
            for path, module in form.named_modules()
            if isinstance(module, Tap | NamedConv2d | Constant | MobileNorm)
        }
        ran: list[tuple[nn.Module, tuple[Tensor, ...], Tensor]] = []

        def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
            ran.append((named[module], args, out))

        with torch.no_grad(), forward_hooks(named, note), recorder:
            answer = program(x)
        self.calls, self.constants = recorder.folded(IMAGE)
        results = [(module, recorder.name(out)) for module, _, out in ran]
        self.weights = {name: m.tensor for m, name in results if isinstance(m, NamedConv2d)}
        self.operands = {name: m.tensor for m, name in results if isinstance(m, Constant)}
        self.norms = {
            recorder.name(out): recorder.name(args[0])
            for module, args, out in ran
            if isinstance(module, MobileNorm)
        }
        self.strides = {name: tensor.stride() for tensor, name in recorder.seen.values()}
        merged = [m for m in form.modules() if isinstance(m, MergedColumns)]
        self.mergings = {m.conv.tensor: m.merging for m in merged}
        depthwise = [m for m in form.modules() if isinstance(m, MobileDepthwise)]
        self.splits = {m.module: m.pieces for m in depthwise if m.split}
        self.graph = self._graph(recorder, recorder.name(answer))
        self.made = {call.output: call for call in self.calls}
        self.names: dict[str, str] = {}
        for tap, name in results:
            if not isinstance(tap, Tap):
                continue
            call = self.made.get(name)
            if call is not None and call.op == DEQUANTIZE:
                name = call.inputs[0]
            if name not in self.names.values() and self._is_new(name, tap):
                self.names[tap.tensor] = name

    def _is_new(self, name: str, tap: Tap) -> bool:
        """Whether a tap's values are no moved copy of those at another, or of a constant."""
        if tap.source is None or tap.role in COMPUTED or self._maker(name) in COMPUTING:
            return True
        source = self.names.get(tap.source)
        if source is None:
            return False
        held, before = self.graph.tensors[name], self.graph.tensors[source]
        return bool(held.scale) and (not before.scale or held.dtype != before.dtype)

    def _maker(self, name: str) -> str:
        """The op whose result a tensor is, quantized or not; "" for what none makes."""
        call = self.made.get(name)
        if call is not None and call.op == QUANTIZE:
            call = self.made.get(call.inputs[0])
        return "" if call is None else call.op

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
        """`wanted` tensors on the image `x`, float32 (1, 3, H, W).

        given: values that take a tensor's place for all that read it. With enough of them no
        image is needed.
        """
        values = ({} if x is None else {IMAGE: x}) | dict(given or {})
        placed = {name: self._placed(name, value) for name, value in values.items()}
        found = self.compute(
            wanted, placed, lambda call, args: call.function(*args, **call.options)
        )
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


def _filled(value: Any, values: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list | tuple):
        return [_filled(v, values) for v in value]
    return value


def _result(function: Callable[..., Any], place: int, *args: Any, **options: Any) -> Tensor:
    """One of the results of a function of several."""
    return function(*args, **options)[place]


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

        # An op of several results is a call for each.
        several = isinstance(out, tuple | list)
        results = {i: t for i, t in enumerate(out if several else [out]) if isinstance(t, Tensor)}
        if results:
            kind = str(func).removesuffix(".default").removesuffix(".Tensor")
            kind = kind.removesuffix(".int").removesuffix(".dim")
            op = OPS.get(kind, kind.removeprefix("aten."))
            referred = [refer(a) for a in args]
            for i, result in results.items():
                made = functools.partial(_result, func, i) if several else func
                name = self.name(result)
                self.calls.append(Call(op, made, referred, kwargs or {}, tuple(inputs), name))
        return out

    def folded(self, image: str) -> tuple[list[Call], dict[str, Tensor]]:
        """The calls that depend on the image, and the values of all other tensors."""
        moving, calls = {image}, []
        for call in self.calls:
            if moving.intersection(call.inputs):
                moving.add(call.output)
                calls.append(call)
        return calls, {n: t.detach() for t, n in self.seen.values() if n not in moving}
