"""Products of two activations, softmax, attention: on stacks of matrices, which delegates take."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mobilemod.forms.layout.axes import Axis, Dim, View, matched
from mobilemod.forms.layout.builder import Builder, Unsupported
from mobilemod.forms.layout.elementwise import scaled, with_constant
from mobilemod.forms.layout.handlers import Value, dim_of, handles, is_view
from mobilemod.forms.layout.weighted import pointwise
from mobilemod.forms.ops import MatMul


@handles("softmax.int", "_softmax.default")
def softmax(b: Builder, x: View, dim: int, *rest: Any, **options: Any) -> View:
    """Softmax along one dimension, as rows of matrices."""
    dim = dim_of(x, dim)
    columns = x.dims[dim]
    others = [d for i, d in enumerate(x.dims) if i != dim and d and d != (b.batch,)]
    rows = others[-1] if others else ()
    x = b.stack(x, rows, columns)
    node = b.call("softmax.int", [x.node], (-1,), "softmax")
    return View(node, x.node_axes, x.axes)


@handles("matmul.default", "bmm.default", "mm.default")
def matmul(b: Builder, x: Value, y: Value) -> View:
    """A product over the last dimension of `x` and the last but one of `y`."""
    if not is_view(y):
        if y.ndim != 2:
            return _fixed_factor(b, x, y)
        return pointwise(b, x, len(x.axes) - 1, y.t(), None)
    if not is_view(x):
        if x.ndim != 2:
            raise Unsupported("a product with a stack of constant matrices")
        return pointwise(b, y, len(y.axes) - 2, x, None)
    return product(b, x, y)


def _fixed_factor(b: Builder, x: View, y: Tensor) -> View:
    raise Unsupported("a product with a stack of constant matrices")


def product(b: Builder, x: View, y: View, role: str = "") -> View:
    """(…, M, K) times (…, K, N)."""
    rank = max(len(x.axes), len(y.axes))
    x, y = (v.seen_as([()] * (rank - len(v.axes)) + list(v.axes)) for v in (x, y))
    pairs: dict[Axis, Axis] = {}
    for i in range(rank - 2):
        if x.dims[i] and y.dims[i]:
            found = matched(x.dims[i], y.dims[i])
            if found is None:
                raise Unsupported("a product of tensors whose dimensions are made otherwise")
            pairs |= found
        elif x.dims[i] or y.dims[i]:
            raise Unsupported("a product that broadcasts")
    inner = matched(x.dims[-1], y.dims[-2])
    if inner is None:
        raise Unsupported("a product of tensors whose dimensions are made otherwise")
    if any(p.split or q.split for p, q in {**pairs, **inner}.items()):
        return product(b, x, y, role)
    batch = tuple(a for d in x.dims[:-2] for a in d)
    other = tuple(a for d in y.dims[:-2] for a in d)
    left, left_turned = _stacked(b, x, batch, x.dims[-2], x.dims[-1])
    right, right_turned = _stacked(b, y, other, y.dims[-2], y.dims[-1])
    rows, columns = x.dims[-2], y.dims[-1]
    # Both may come from one image, whose positions then stand for two things.
    columns = tuple(Axis(a.size) if a in (*batch, *rows) else a for a in columns)
    shape = (left.node.shape[0], _size(left, rows), _size(right, y.dims[-1]))
    node = b.add(MatMul((left_turned, right_turned)), [left.node, right.node], shape, role)
    dims = (*x.dims[:-2], rows, columns)
    return View(node, (batch, rows, columns), dims)


def _size(view: View, dim: Dim) -> int:
    return math.prod(a.size for a in dim)


def _stacked(b: Builder, x: View, batch: Dim, rows: Dim, columns: Dim) -> tuple[View, bool]:
    """(matrices, whether they lie transposed); channels, which lie close together, come last."""
    if x.node_dims == (batch, rows, columns):
        return x, False
    if x.node_dims == (batch, columns, rows):
        return x, True
    turned = len(x.node_dims) == 4 and bool(set(rows) & set(x.node_dims[1]))
    first, second = (columns, rows) if turned else (rows, columns)
    return b.rearranged(x, (batch, first, second)), turned


@handles("baddbmm.default")
def baddbmm(b: Builder, bias: Value, x: View, y: View, *, beta: float = 1, alpha: float = 1) -> View:  # noqa: E501
    """beta * bias + alpha * x @ y."""
    from mobilemod.forms.layout.elementwise import add

    y = scaled(b, product(b, x, y), alpha)
    return y if beta == 0 else add(b, y, bias, alpha=beta)


@handles("scaled_dot_product_attention.default")
def attention(b: Builder, q: View, k: View, v: View, mask: Any = None, dropout: float = 0.0,
              causal: bool = False, *, scale: float | None = None, **options: Any) -> View:  # fmt: skip
    """softmax(q k' * scale + mask) v, as products and a softmax."""
    from mobilemod.forms.layout.elementwise import add

    if options.get("enable_gqa"):
        raise Unsupported("grouped queries")
    width = q.shape[-1]
    if causal:
        n, m = q.shape[-2], k.shape[-2]
        mask = torch.full((n, m), -math.inf).triu(1)
    k = k.seen_as((*k.axes[:-2], k.axes[-1], k.axes[-2]))
    scores = scaled(b, product(b, q, k), width**-0.5 if scale is None else scale)
    if isinstance(mask, Tensor):
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, -1e4)
        if bool(mask.any()):
            scores = with_constant(b, scores, mask.clamp(min=-1e4), "add.Tensor")
    elif mask is not None:
        scores = add(b, scores, mask)
    return product(b, softmax(b, scores, -1), v)
