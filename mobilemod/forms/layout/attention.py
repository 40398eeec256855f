"""Products of two activations, softmax, attention: on stacks of matrices, which delegates take."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mobilemod.forms.layout.axes import Axis, Dim, View, matched, size_of
from mobilemod.forms.layout.builder import Builder, Mixed, Unsupported, without_batch
from mobilemod.forms.layout.elementwise import add, scaled, with_constant
from mobilemod.forms.layout.handlers import Value, dim_of, handles, is_view
from mobilemod.forms.layout.views import transpose
from mobilemod.forms.layout.weighted import pointwise
from mobilemod.forms.ops import MatMul


@handles("softmax.int", "_softmax.default")
def softmax(b: Builder, x: View, dim: int, *rest: Any, **options: Any) -> Value:
    """Softmax along one dimension, as rows of matrices; of single values it is 1."""
    dim = dim_of(x, dim)
    columns = x.dims[dim]
    if not columns:
        return torch.ones(x.shape)
    if b.batch in columns:
        raise Mixed("a softmax over the batch")
    others = [d for i, d in enumerate(x.dims) if i != dim and d and d != (b.batch,)]
    rows = others[-1] if others else ()
    x = b.stack(x, rows, columns)
    node = b.call("softmax.int", [x.node], (-1,), "softmax")
    return View(node, x.node_axes, x.axes)


@handles("matmul.default", "bmm.default", "mm.default")
def matmul(b: Builder, x: Value, y: Value) -> View:
    """A product over the last dimension of `x` and the last but one of `y`."""
    if is_view(x) and is_view(y):
        return product(b, x, y)
    image, constant, dim = (x, y, -1) if is_view(x) else (y, x, -2)
    if len(image.axes) == 1 or constant.ndim == 1 and dim == -2 and len(image.axes) < 2:
        raise Unsupported("a product with a vector of images")
    vector = constant.ndim == 1
    matrix = constant[None] if vector else constant
    image = image.seen_as([()] * (constant.ndim - len(image.axes)) + list(image.axes))
    weight, lead = _matrices(b, matrix.mT if dim == -1 and not vector else matrix, image)
    dim %= len(image.axes)
    out = pointwise(b, image, dim, weight, None, lead)
    return out.seen_as(d for i, d in enumerate(out.axes) if i != dim) if vector else out


def _matrices(b: Builder, constant: Tensor, like: View) -> tuple[Tensor, Dim]:
    """A constant (…, out, in) for the images of `like` as (matrices x out, in), and the axes for
    each value of which there is a matrix of its own."""
    lead: Dim = ()
    for i, axes in enumerate(like.dims[-constant.ndim : -2]):
        if constant.shape[i] > 1 and b.batch in axes:
            constant = without_batch(constant, i, axes)
        first = constant.narrow(i, 0, 1)
        if constant.shape[i] > 1 and bool((constant == first).all()):
            constant = first
        own = tuple(a for a in axes if a is not b.batch)
        if constant.shape[i] not in (1, size_of(own)):
            raise Unsupported("a product that broadcasts")
        lead += own if constant.shape[i] > 1 else ()
    return constant.flatten(0, -2), lead


def product(b: Builder, x: View, y: View) -> View:
    """(…, M, K) times (…, K, N)."""
    if min(len(x.axes), len(y.axes)) < 2:
        raise Unsupported("a product with a vector")
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
        return product(b, x, y)
    batch = tuple(a for d in x.dims[:-2] for a in d)
    other = tuple(a for d in y.dims[:-2] for a in d)
    left, left_turned = _stacked(b, x, batch, x.dims[-2], x.dims[-1])
    right, right_turned = _stacked(b, y, other, y.dims[-2], y.dims[-1])
    rows, columns = x.dims[-2], y.dims[-1]
    # Both may come from one image, whose positions then stand for two things.
    columns = tuple(Axis(a.size) if a in (*batch, *rows) else a for a in columns)
    shape = (left.node.shape[0], size_of(rows), size_of(columns))
    node = b.add(MatMul((left_turned, right_turned)), [left.node, right.node], shape)
    dims = (*x.dims[:-2], rows, columns)
    return View(node, (batch, rows, columns), dims)


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
def baddbmm(
    b: Builder, bias: Value, x: Value, y: Value, *, beta: float = 1, alpha: float = 1
) -> View:
    """beta * bias + alpha * x @ y."""
    y = scaled(b, matmul(b, x, y), alpha)
    return y if beta == 0 else add(b, y, bias, alpha=beta)


@handles("scaled_dot_product_attention.default")
def attention(
    b: Builder, q: Value, k: Value, v: Value, mask: Any = None, dropout: float = 0.0,
    causal: bool = False, *, scale: float | None = None, **options: Any,
) -> View:  # fmt: skip
    """softmax(q k' * scale + mask) v, as products and a softmax."""
    if options.get("enable_gqa"):
        raise Unsupported("grouped queries")
    width = q.shape[-1]
    if causal:
        n, m = q.shape[-2], k.shape[-2]
        mask = torch.full((n, m), -math.inf).triu(1)
    k = transpose(b, k, -2, -1) if is_view(k) else k.transpose(-2, -1)
    scores = scaled(b, matmul(b, q, k), width**-0.5 if scale is None else scale)
    if isinstance(mask, Tensor):
        if mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape).masked_fill(~mask, -1e4)
        if bool(mask.any()):
            scores = with_constant(b, scores, mask.clamp(min=-1e4), "add.Tensor")
    elif mask is not None:
        scores = add(b, scores, mask)
    return matmul(b, softmax(b, scores, -1), v)
