"""A form that runs: the canonical graph as modules, in what one kind of runtime is fast at.

Every tensor stands at a `Tap`, every convolution is a `NamedConv2d`, every constant a `Constant`:
that is what quantization, lowering and comparison look for, by kind and by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mobilemod.forms.copies.channels import Copies
from mobilemod.forms.copies.pixels import Pixels, whole_factors
from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.merging import pays
from mobilemod.forms.mobile_ops import (
    Constant,
    FormOptions,
    MergedColumns,
    MobileDepthwise,
    MobileNorm,
    NamedConv2d,
    Tap,
    pointwise,
)
from mobilemod.forms.ops import (
    Affine,
    Call,
    ChannelMean,
    ChannelNorm,
    Fixed,
    Rearrange,
    Repeat,
    per_channel,
)

# Tensors that recipes leave float, so that a convolution quantizes what it reads of them itself.
FLOATABLE = (
    "residual", "shifted", "scaled", "norm.inner", "context", "softmax", "scores", "quotient",
    "matmul", "square", "other", "mean", "sum", "difference", "reduced", "moved", "upsample",
    "pool", "maximum", "depthwise",
)  # fmt: skip
SEGMENT_CONVS = 4
CANONICAL_WEIGHTS = ("weight", "depthwise.weight")


class Segment(nn.Module):
    """Some ops in order; the first value is what goes in, the last what comes out.

    steps: (child, which of the values before it reads).
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        self.last: dict[int, int] = {}

    def append(self, name: str, op: nn.Module, inputs: tuple[int, ...]) -> int:
        """Add an op; the number of its value."""
        name = name.replace(".", "_").replace(":", "_")
        while hasattr(self, name):  # of nn.Module too: a network may call a layer "last"
            name += "_"
        self.add_module(name, op)
        for i in inputs:
            self.last[i] = len(self.steps)
        self.steps.append((name, inputs))
        return len(self.steps)

    def forward(self, x: Tensor) -> Tensor:
        values: list[Tensor | None] = [x]
        for number, (name, inputs) in enumerate(self.steps):
            values.append(self._modules[name](*(values[i] for i in inputs)))
            for i in inputs:
                if self.last[i] == number:
                    values[i] = None
        return values[-1]


class Form(nn.Module):
    """A network's canonical form under options: `layers` one after the other, then `finish`.

    Input float (B, C, H, W), normalized; output float (B, num_classes), or maps (B, num_classes, h,
    w).
    """

    def __init__(self, graph: Graph, options: FormOptions):
        super().__init__()
        self.options = options
        self.num_classes = graph.output.shape[1]
        self.image_shape = tuple(graph.input.shape[1:])
        segments = list(_segments(graph, options))
        self.layers = nn.ModuleList(segments[:-1])
        self.last = segments[-1]

    @torch.no_grad()
    def canonical_state(self) -> dict[str, Tensor]:
        """The weights by the canonical form's names: what was split is whole again."""
        state = {}
        inside: set[nn.Module] = set()
        for module in self.modules():
            if isinstance(module, MobileDepthwise | MergedColumns):
                convs = [m for m in module.modules() if isinstance(m, NamedConv2d)]
                inside.update(convs)
                state |= _weights(convs[0], module.kernel())
            elif isinstance(module, NamedConv2d):
                if module not in inside and module.role in CANONICAL_WEIGHTS:
                    state |= _weights(module, module.weight)
            elif isinstance(module, ScaleShift):
                state |= module.canonical_state()
            elif isinstance(module, Constant) and module.role == "constant":
                state[module.tensor] = module.value.detach().clone()
            elif isinstance(module, Fixed):
                state[module.tensor] = module.value.clone()
        return state

    def finish(self, x: Tensor) -> Tensor:
        """The output (B, num_classes) of what the last layer gave."""
        return self.last(x)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.finish(x)


def _weights(conv: NamedConv2d, kernel: Tensor) -> dict[str, Tensor]:
    found = {f"{conv.module}.weight": kernel.detach().clone()}
    if conv.bias is not None:
        found[f"{conv.module}.bias"] = conv.bias.detach().clone()
    return found


def _segments(graph: Graph, options: FormOptions) -> Iterable[Segment]:
    """The graph in pieces, cut where one tensor alone goes on."""
    users = graph.users()
    order = {node: i for i, node in enumerate(graph.nodes)}
    last_use = {n: max((order[u] for u in users[n]), default=len(order)) for n in graph.nodes}
    last_use[graph.output] = len(order)
    last_conv = max((order[n] for n in graph.of(NamedConv2d)), default=0)
    segment, place, convs = Segment(), {graph.input: 0}, 0
    for node in graph.nodes:
        if node.op is None:
            place[node] = _tapped(segment, node, 0)
            continue
        place[node] = _append(segment, node, [place[n] for n in node.inputs], options)
        convs += isinstance(node.op, NamedConv2d)
        alive = [n for n in place if last_use[n] > order[node] and n is not node]
        enough = node.role in ("residual", "shifted") or convs >= SEGMENT_CONVS
        ends = node is graph.output or order[node] >= last_conv
        if not alive and convs and enough and not ends:
            yield segment
            segment, place, convs = Segment(), {node: 0}, 0
    yield segment


def _append(segment: Segment, node: Node, inputs: Sequence[int], options: FormOptions) -> int:
    op, name = node.op, node.tensor
    read = tuple(inputs)
    if isinstance(op, NamedConv2d):
        source, names = node.inputs[0], [node.inputs[0].tensor]
        if source.role in FLOATABLE and node.role != "scores":
            tap = Tap(f"{op.module}:in", (source.source or source).tensor, "in")
            names.append(tap.tensor)
            read = (segment.append(f"{op.module}.in", tap, read),)
        made: nn.Module = op
        if op.groups > 1 and op.groups == op.in_channels:
            made = _depthwise(op, options, source, node.role)
        elif options.merge_columns and source.op is None and pays(op):
            made = MergedColumns(op.module, op, tuple(source.shape[2:]))
            made.tap.source, made.tap.role = source.tensor, "moved"
        for conv in made.modules():
            if isinstance(conv, NamedConv2d):
                conv.reads = tuple(names)
        value = segment.append(op.module, made, read)
        return value if isinstance(made, MobileDepthwise | Whole) else _tapped(segment, node, value)
    if isinstance(op, ChannelNorm):
        norm = MobileNorm(node.module, node.shape[1], op.eps, options, op.groups, node.role)
        return segment.append(node.module, norm, read)
    if isinstance(op, Affine):
        return segment.append(name, ScaleShift(node), read)
    op.makes = name
    if isinstance(op, Call) and op.kind == "cat":
        op.joins = tuple((n.source or n).tensor for n in node.inputs)
    if isinstance(op, Fixed):
        # `Constant` takes one dimension for channels, an op that was left as it was does not.
        plain = op.value.is_floating_point() and op.value.ndim != 1
        return segment.append(name, Constant(name, op.value, "constant") if plain else op, read)
    if isinstance(op, ChannelMean) and options.norm_mean == "conv":
        channels = node.inputs[0].shape[1]
        conv = pointwise(node.module, torch.full((1, channels), 1.0 / channels), None)
        conv.role = "mean.weight"
        return _tapped(segment, node, segment.append(name, conv, read))
    if isinstance(op, Repeat):
        return segment.append(name, Copies(node, op.times), read)
    repeats = whole_factors(node) if options.channels_last else None
    if repeats:
        return segment.append(name, Pixels(node, *repeats), read)
    if isinstance(op, Rearrange):
        op = Rearrange(op.sizes, op.source, op.target, options.channels_last)
        op.makes = name
    return _tapped(segment, node, segment.append(name, op, read))


def _tapped(segment: Segment, node: Node, value: int) -> int:
    source = node.source.tensor if node.source is not None else None
    if node.source is not None and node.ends:
        return value
    tap = Tap(node.tensor, source, node.role)
    return segment.append(f"{node.tensor}.tap", tap, (value,))


def _depthwise(conv: NamedConv2d, options: FormOptions, source: Node, role: str) -> nn.Module:
    """With its taps, in pieces that the delegate takes. role: of its result."""
    made: nn.Module = Whole(conv)
    if conv.dilation == (1, 1):
        made = MobileDepthwise(conv.module, conv, options, (source.source or source).tensor)
    taps = [m for m in made.modules() if isinstance(m, Tap)]
    for tap in taps:
        where = tap.tensor.rpartition(":")[0].removeprefix(conv.module)
        tap.role = f"depthwise.{where.strip('.0123456789')}" if where else "depthwise"
    for module in made.modules():
        if isinstance(module, NamedConv2d):
            module.role = "depthwise.weight"
    if len(taps) == 1:  # the sum of several has to be int8 to be clamped so
        taps[0].role = role
    return made


class Whole(nn.Module):
    """A depthwise convolution as it is, with its tap."""

    def __init__(self, conv: NamedConv2d):
        super().__init__()
        self.conv, self.tap = conv, Tap(f"{conv.module}:out", role="depthwise")

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.conv(x))


class ScaleShift(nn.Module):
    """x * scale + shift by constants per channel, each result at a tap."""

    def __init__(self, node: Node):
        super().__init__()
        affine: Affine = node.op  # type: ignore[assignment]
        self.makes = node.tensor
        base, rank = node.module, len(node.shape)
        self.scale = self.shift = None
        if bool((affine.scale != 1).any()):
            self.scale = Constant(f"{base}:scale", per_channel(affine.scale, rank), "scale")
            last = affine.shift is None
            name = node.tensor if last else f"{base}:scaled"
            self.tap_scaled = Tap(name, role="scaled")
        if affine.shift is not None:
            self.shift = Constant(f"{base}:shift", per_channel(affine.shift, rank), "shift")
            self.tap_shifted = Tap(node.tensor, role="shifted")

    def canonical_state(self) -> dict[str, Tensor]:
        """Its scale and shift by the canonical form's names."""
        found = {}
        if self.shift is not None:
            found[f"{self.makes}.shift"] = self.shift.value.detach().flatten().clone()
        ones = torch.ones_like(found.get(f"{self.makes}.shift", torch.ones(1)))
        scale = ones if self.scale is None else self.scale.value.detach().flatten().clone()
        return {f"{self.makes}.scale": scale, **found}

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is not None:
            x = self.tap_scaled(x * self.scale())
        if self.shift is not None:
            x = self.tap_shifted(x + self.shift())
        return x
