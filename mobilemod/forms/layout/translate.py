"""From a captured program to channels-first nodes, op by op; what has no handler stays as it is."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import HigherOrderOperator

from mobilemod.errors import UserError
from mobilemod.forms.capture import Captured, module_path
from mobilemod.forms.graph import Graph, Node
from mobilemod.forms.layout import (
    attention,
    elementwise,
    joining,
    reductions,
    taking,
    views,
    weighted,
)
from mobilemod.forms.layout.axes import Axis, Dim, View, size_of
from mobilemod.forms.layout.builder import BATCH, Builder, Mixed, Unsupported
from mobilemod.forms.layout.handlers import HANDLERS, Value, is_view
from mobilemod.forms.ops import Call, Hole, resolve

# Each registers its handlers; those of the first three take values of any type.
ROOMS = (views, taking, joining, elementwise, weighted, reductions, attention)
MOVES = {room.__name__ for room in ROOMS[:3]}


def known_ops() -> list[Any]:
    """The ops that handlers take, as torch has them."""
    found = []
    for name in HANDLERS:
        with contextlib.suppress(AttributeError):  # of another version of torch
            found.append(resolve(name))
    return found


def translate(program: Captured) -> tuple[Graph, list[str]]:
    """The graph of a program, and a line for each op that was left as it was.

    `UserError` where an op can't be taken over, or images don't stay apart.
    """
    builder = Builder(program.shape)
    values: dict[fx.Node, Any] = {}
    output: Any = None
    for node in program.graph.nodes:
        if node.op == "placeholder":
            image = node.name == program.image
            values[node] = builder.input if image else program.constants.get(node.name)
        elif node.op == "output":
            # What a network changes in place stands there too.
            found = [n for n in node.all_input_nodes if n.name == program.output]
            output = values[found[0]] if found else None
        elif node.op == "get_attr":
            values[node] = node.target  # a program within it, which none here runs
        elif node.op == "call_function":
            builder.path = module_path(node)
            args = fx.map_arg(node.args, values.__getitem__)
            options = fx.map_arg(dict(node.kwargs), values.__getitem__)
            values[node] = _translated(builder, node.target, list(args), dict(options))
    if not isinstance(output, View) or builder.batch not in output.flat:
        raise UserError("the network's output doesn't depend on its image")
    if output.dims[0] != (builder.batch,):
        raise UserError("the network's output must have the images as its first dimension")
    builder.graph.output = builder.plain(output).node
    builder.graph.prune()
    return builder.graph, builder.left


def _translated(b: Builder, target: Any, args: list[Any], options: dict[str, Any]) -> Any:
    if target is operator.getitem:
        return args[0][args[1]]
    found = list(_views([*args, *options.values()]))
    name = str(target).removeprefix("aten.")
    handler = HANDLERS.get(name)
    if isinstance(target, HigherOrderOperator):
        raise _refused(b, name, "runs programs of its own, by what the image says")
    if handler is None and torch.Tag.nondeterministic_seeded in _tags(target):
        raise _refused(b, name, "draws random numbers: an answer would never be the same")
    if not found:
        with torch.no_grad():
            return target(*args, **options)
    try:
        if handler is None:
            raise Unsupported("no rewrite knows it")
        floats = any(v.node.dtype.is_floating_point for v in found)
        if not floats and handler.__module__ not in MOVES:
            raise Unsupported("its values are no floats")
        return handler(b, *args, **options)
    except Unsupported as error:
        b.leave(name, str(error))
    except Mixed as error:
        raise _refused(b, name, f"mixes images ({error})") from error
    return _as_it_is(b, target, name, args, options)


def _tags(target: Any) -> Collection[torch.Tag]:
    """What torch says of an op."""
    return getattr(target, "tags", ())


def _refused(b: Builder, name: str, why: str) -> UserError:
    return UserError(f"{b.path or 'the network'}: the op {name.partition('.')[0]} {why}")


def _views(values: Any) -> Iterator[View]:
    if isinstance(values, View):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _views(value)


def _as_it_is(
    b: Builder, target: Any, name: str, args: list[Any], options: Mapping[str, Any]
) -> Value:
    """The op on tensors laid out as the program has them; each of several results its own op."""
    views: list[View | None] = []
    nodes: list[Node] = []

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [place(v) for v in value]
        if not isinstance(value, View | Tensor):
            return value
        views.append(b.plain(value) if is_view(value) else None)
        nodes.append(views[-1].node if is_view(value) else b.constant(value))
        return Hole(len(nodes) - 1)

    placed, found = [place(a) for a in args], []
    try:
        several = b.several(name, nodes, placed, options)
        for item in (None,) if several is None else range(several):
            node = b.call(name, nodes, placed, "other", item=item, **dict(options))
            leading = _leading(b, node, views)
            dims = (leading, *((Axis(n),) if n > 1 else () for n in node.shape[1:]))
            found.append(View(node, dims, dims))
    except Mixed as error:
        raise _refused(b, name, f"mixes images ({error})") from error
    except (RuntimeError, NotImplementedError, AttributeError, TypeError, IndexError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if torch.Tag.dynamic_output_shape in _tags(target):
            reason = "how many values it gives depends on the image's"
        raise _refused(b, name, f"can't be taken over ({reason})") from error
    return found[0] if several is None else tuple(found)


def _leading(b: Builder, node: Node, views: Sequence[View | None]) -> Dim:
    """The first dimension of an op's result: the images, of which half give half of the result."""
    call = node.op
    assert isinstance(call, Call)
    leading = next((v.dims[0] for v in views if v is not None and b.batch in v.flat), ())
    if leading[:1] != (b.batch,) or node.shape[:1] != (size_of(leading),):
        raise Mixed("the images aren't its first dimension")
    generator = torch.Generator().manual_seed(0)
    whole, half = [], []
    for view, source in zip(views, node.inputs, strict=True):
        value = source.op.value if view is None else torch.randn(source.shape, generator=generator)
        if view is not None and not (source.dtype.is_floating_point or source.dtype.is_complex):
            value = value > 0  # an index of 0 or 1 is one of any dimension
        whole.append(value.to(source.dtype))
        batched = view is not None and b.batch in view.flat
        half.append(whole[-1][len(value) // BATCH :] if batched else whole[-1])
    with torch.no_grad():
        expected = call(*whole)[node.shape[0] // BATCH :]
        try:
            alone = call(*half)
        except (RuntimeError, IndexError) as error:
            raise Mixed("it takes no other number of images") from error
    if alone.shape != expected.shape or not torch.allclose(
        alone.double(), expected.double(), 1e-4, 1e-5, equal_nan=True
    ):
        raise Mixed("an image's result depends on the others")
    return leading
