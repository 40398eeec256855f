"""Ops on each value: they don't mind the layout, so they are applied to nodes as these lie."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from mobilemod.forms.layout.axes import Axis, Dim, Dims, View
from mobilemod.forms.layout.builder import BATCH, Builder, Mixed, Unsupported, aligned
from mobilemod.forms.layout.handlers import Value, handles, is_view
from mobilemod.forms.ops import Affine

UNARY = (
    "gelu", "relu", "relu6", "sigmoid", "tanh", "hardswish", "hardtanh", "elu", "leaky_relu", "abs",
    "neg", "exp", "sqrt", "rsqrt", "log", "clamp", "clamp_min", "clamp_max",
    "softplus", "mish", "erf", "sin", "cos", "floor", "selu", "celu", "log1p", "sign", "round",
)  # fmt: skip


def unary(b: Builder, x: View, name: str, *args: Any, **options: Any) -> View:
    """One torch op on each value."""
    node = b.call(name, [x.node], args, **options)
    return View(node, x.node_axes, x.axes)


def _register(name: str) -> None:
    @handles(name)
    def handler(b: Builder, x: View, *args: Any, **options: Any) -> View:
        return unary(b, x, name, *args, **options)


for _name in UNARY:
    _register(f"{_name}.default")


@handles("silu.default")
def silu(b: Builder, x: View) -> View:
    """x * sigmoid(x), as the delegates take it."""
    gate = b.call("sigmoid.default", [x.node], role="gate")
    return View(b.call("mul.Tensor", [x.node, gate]), x.node_axes, x.axes)


@handles("hardsigmoid.default")
def hardsigmoid(b: Builder, x: View) -> View:
    """clamp(x / 6 + 1/2, 0, 1)."""
    y = shifted(b, scaled(b, x, 1 / 6), 0.5)
    return View(b.call("clamp.default", [y.node], (0.0, 1.0), "gate"), x.node_axes, x.axes)


@handles("square.default")
def square(b: Builder, x: View) -> View:
    """x * x."""
    return View(b.call("mul.Tensor", [x.node, x.node]), x.node_axes, x.axes)


@handles("pow.Tensor_Scalar")
def power(b: Builder, x: View, exponent: float) -> View:
    """x to a constant power."""
    if exponent == 2:
        return square(b, x)
    if exponent in (3, 4):
        y = square(b, x)
        return square(b, y) if exponent == 4 else binary(b, y, x, "mul.Tensor")
    if exponent in (0.5, -0.5):
        return unary(b, x, "sqrt.default" if exponent > 0 else "rsqrt.default")
    if exponent == -1:
        return reciprocal(b, x)
    return unary(b, x, "pow.Tensor_Scalar", exponent)


@handles("mul.Tensor", "mul.Scalar")
def mul(b: Builder, x: Value, y: Value) -> View:
    """Product, with a constant or of two tensors."""
    x, y = (x, y) if is_view(x) else (y, x)
    if is_view(y):
        return binary(b, x, y, "mul.Tensor")
    return scaled(b, x, y)


@handles("div.Tensor", "div.Scalar", "true_divide.Tensor")
def div(b: Builder, x: Value, y: Value) -> View:
    """Quotient."""
    if not is_view(y):
        return scaled(b, x, 1 / y if not isinstance(y, Tensor) else (1 / y.double()).float())
    return binary(b, x, y, "div.Tensor") if is_view(x) else scaled(b, reciprocal(b, y), x)


@handles("reciprocal.default")
def reciprocal(b: Builder, x: View) -> View:
    """1 / x, as the delegates take it."""
    one = b.constant(torch.ones((1,) * len(x.node.shape)))
    return View(b.call("div.Tensor", [one, x.node]), x.node_axes, x.axes)


@handles("add.Tensor", "add.Scalar")
def add(b: Builder, x: Value, y: Value, *, alpha: float = 1) -> View:
    """Sum, with a constant or of two tensors."""
    if not is_view(y):
        return shifted(b, x, y * alpha)
    y = y if alpha == 1 else scaled(b, y, alpha)
    return binary(b, x, y, "add.Tensor") if is_view(x) else shifted(b, y, x)


@handles("sub.Tensor", "sub.Scalar")
def sub(b: Builder, x: Value, y: Value, *, alpha: float = 1) -> View:
    """Difference."""
    if not is_view(y):
        return shifted(b, x, -y * alpha)
    y = y if alpha == 1 else scaled(b, y, alpha)
    return binary(b, x, y, "sub.Tensor") if is_view(x) else shifted(b, scaled(b, y, -1.0), x)


@handles("rsub.Scalar", "rsub.Tensor")
def rsub(b: Builder, x: Value, y: Value, alpha: float = 1) -> View:
    """y - x."""
    return sub(b, y, x, alpha=alpha)


@handles("maximum.default")
def maximum(b: Builder, x: Value, y: Value) -> View:
    """The larger of each."""
    return _either(b, x, y, "maximum.default")


@handles("minimum.default")
def minimum(b: Builder, x: Value, y: Value) -> View:
    """The smaller of each."""
    return _either(b, x, y, "minimum.default")


def _either(b: Builder, x: Value, y: Value, name: str) -> View:
    x, y = (x, y) if is_view(x) else (y, x)
    return binary(b, x, y, name) if is_view(y) else with_constant(b, x, y, name)


@handles("prelu.default")
def prelu(b: Builder, x: View, weight: Value) -> View:
    """relu(x) - weight * relu(-x), with a weight for all or one per channel."""
    if is_view(weight) or not is_view(x):
        raise Unsupported("a slope that depends on the image")
    below = unary(b, scaled(b, x, -1.0), "relu.default")
    slope = weight.reshape(-1, *[1] * (len(x.axes) - 2)) if weight.numel() > 1 else weight
    return binary(b, unary(b, x, "relu.default"), scaled(b, below, slope), "sub.Tensor")


def scaled(b: Builder, x: View, factor: float | Tensor) -> View:
    """Product with a constant: a number, one per channel, or any."""
    if not isinstance(factor, Tensor) or factor.numel() == 1:
        value = float(factor)
        if value == 1.0:
            return x
        node = b.add(Affine(torch.tensor([value], dtype=torch.float64)), [x.node], x.node.shape)
        return View(node, x.node_axes, x.axes)
    return with_constant(b, x, factor, "mul.Tensor")


def shifted(b: Builder, x: View, amount: float | Tensor) -> View:
    """Sum with a constant: a number, one per channel, or any."""
    if not isinstance(amount, Tensor) or amount.numel() == 1:
        value = float(amount)
        if value == 0.0:
            return x
        one = torch.ones(1, dtype=torch.float64)
        node = b.add(Affine(one, value * one), [x.node], x.node.shape)
        return View(node, x.node_axes, x.axes)
    return with_constant(b, x, amount, "add.Tensor")


def with_constant(b: Builder, x: View, value: Tensor, name: str) -> View:
    """Sum or product with a constant tensor, which may also be larger than `x`."""
    x = _grown(b, x, value)
    number = {"mul.Tensor": scaled, "add.Tensor": shifted}.get(name)
    if number and bool((value == value.flatten()[0]).all()):
        return number(b, x, float(value.flatten()[0]))
    laid, _ = b.laid(value.float(), x)
    node, channels = x.node, laid.flatten()
    per_channel = laid.ndim == 4 and laid.numel() == laid.shape[1] == node.shape[1]
    if per_channel and name in ("mul.Tensor", "add.Tensor"):
        scale = name == "mul.Tensor"
        op = Affine(channels) if scale else Affine(torch.ones_like(channels), channels)
        return View(b.add(op, [node], node.shape), x.node_axes, x.axes)
    return View(b.call(name, [node, b.fixed(value.float(), x)]), x.node_axes, x.axes)


def _grown(b: Builder, x: View, value: Tensor) -> View:
    """`x` with the dimensions that the constant alone has."""
    dims = [()] * (value.ndim - len(x.axes)) + list(x.axes)
    shape = [1] * (len(dims) - value.ndim) + list(value.shape)
    for i, n in enumerate(shape):
        if n > 1 and not dims[i]:
            dims[i] = (Axis(n),)
    x = x.seen_as(dims)
    return b.plain(x) if x.missing else x


def binary(b: Builder, x: View, y: View, name: str, role: str = "") -> View:
    """One torch op on the values of two tensors, in the layout of one of them."""
    pairs = aligned(x, y)
    if pairs is None:
        x, y = b.plain(x), b.plain(y)
        if any(b.batch in v.flat and v.flat[0] is not b.batch for v in (x, y)):
            raise Mixed("tensors whose images aren't their first dimension")
        fresh = _fresh(x)
        x = View(x.node, fresh, fresh)
        y = View(y.node, _same_axes(x, y), _same_axes(x, y))
        pairs = {a: a for a in _axes(y.dims)}
    # An axis may stand for two things: in x[:, :, None] * x[:, None, :] one of them gets its own.
    own = (_axes(x.node_dims) | _axes(x.dims)) & (_axes(y.node_dims) | _axes(y.dims))
    if b.batch in own and pairs.get(b.batch) is not b.batch:
        raise Mixed("one tensor's images beside another's")
    y = _renamed(y, {a: Axis(a.size) for a in own if not a.batch} | pairs)
    rank = max(len(x.axes), len(y.axes))
    left = [()] * (rank - len(x.dims)) + list(x.dims)
    right = [()] * (rank - len(y.dims)) + list(y.dims)
    dims = tuple(p or q for p, q in zip(left, right, strict=True))
    real = (_axes(x.node_dims) | _axes(y.node_dims)) & {a for d in dims for a in d}
    hosts = sorted((x, y), key=lambda v: len(v.node_dims) != 4)
    host = next((v for v in hosts if _axes(v.node_dims) >= real), None)
    if host is None:
        full = tuple(tuple(a for a in d if a in real) for d in dims)
        x, y = (_spread(b, v, full) for v in (x, y))
        node = b.call(name, [x.node, y.node], role=role)
        return View(node, full, dims)
    layout = host.node_dims
    try:
        nodes = [v.node if v is host else _fitted(b, v, layout) for v in (x, y)]
    except Unsupported:
        x, y = (b.plain(v.seen_as([()] * (rank - len(v.dims)) + list(v.dims))) for v in (x, y))
        node = b.call(name, [x.node, y.node], role=role)
        return View(node, dims, dims)
    return View(b.call(name, nodes, role=role), layout, dims)


def _axes(dims: Dims) -> set[Axis]:
    return set(itertools.chain(*dims))


def _renamed(y: View, pairs: dict[Axis, Axis]) -> View:
    def renamed(dims: Dims) -> Dims:
        return tuple(tuple(pairs.get(a, a) for a in d) for d in dims)

    return View(y.node, renamed(y.node_dims), renamed(y.dims))


def _fresh(x: View) -> Dims:
    return tuple(
        (d[0], *_own(n // BATCH)) if d and d[0].batch else _own(n)
        for d, n in zip(x.dims, x.shape, strict=True)
    )


def _own(size: int) -> Dim:
    return (Axis(size),) if size > 1 else ()


def _same_axes(x: View, y: View) -> Dims:
    pad = len(x.axes) - len(y.axes)
    if pad < 0:
        raise Unsupported("tensors of unlike rank whose dimensions are made otherwise")
    out = []
    for i, n in enumerate(y.shape):
        own = x.axes[pad + i]
        out.append(own if n > 1 and own else _own(n))
    return tuple(out)


def _fitted(b: Builder, v: View, layout: Dims) -> Any:
    """The node of `v` in a layout, of size 1 in dimensions of which it has nothing."""
    have = _axes(v.node_dims)
    if any(a not in {x for d in layout for x in d} for a in have):
        raise Unsupported("an axis too many")
    known = {a for d in v.dims for a in d}
    target = []
    for dim in layout:
        inside = [a for a in dim if a in have]
        if inside and any(a not in known and a not in have for a in dim):
            # Values are the same along an axis of this dimension that `v` doesn't know.
            v = View(v.node, v.node_axes, (*v.axes, tuple(a for a in dim if a not in known)))
            known |= set(dim)
        target.append(dim if inside else ())
    return b.rearranged(v, tuple(target)).node


def _spread(b: Builder, v: View, full: Dims) -> View:
    """`v` over dimensions of both, of size 1 where it has none."""
    have = _axes(v.node_dims)
    return b.rearranged(v, tuple(tuple(a for a in d if a in have) for d in full))
