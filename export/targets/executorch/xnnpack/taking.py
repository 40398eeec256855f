"""What the XNNPACK delegate takes of a graph, and in which of its types."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch

from export.targets.executorch.classes import OPS as ANSWER_OPS

RESIZE = "aten.upsample_bilinear2d.vec"


def op_name(node: torch.fx.Node) -> str:
    """ "mm" of aten.mm.default or mm.default, "getitem", "" of what is no op."""
    name = getattr(node.target, "__name__", "") if node.op == "call_function" else ""
    return name.split(".")[-2] if "." in name else name


@functools.cache
def partitioner_class() -> type:
    # Made on first use: these imports take seconds.
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.generic_node_configs import (
        CatConfig,
        GeluConfig,
        UpsampleBilinear2dConfig,
    )
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from torch.fx.passes.infra.partitioner import Partition

    class RepeatedCat(CatConfig):
        """Also takes a cat of one tensor with itself, whose distinct inputs number only one."""

        def check_constraints(self, node: Any, ep: Any) -> bool:
            return self.check_common_constraints(node, ep) and len(node.args[0]) >= 2

    class ExactGelu(GeluConfig):
        """Leaves out the tanh approximation, which the delegate would compute as the exact one."""

        def check_constraints(self, node: Any, ep: Any) -> bool:
            exact = node.kwargs.get("approximate", "none") == "none"
            return exact and super().check_constraints(node, ep)

    class CodedBilinear(UpsampleBilinear2dConfig):
        """Also resizes codes: XNNPACK can."""

        def supported_precision_types(self) -> list[Any]:
            return [*super().supported_precision_types(), ConfigPrecisionType.STATIC_QUANT]

    own = {
        CatConfig: RepeatedCat,
        GeluConfig: ExactGelu,
        UpsampleBilinear2dConfig: CodedBilinear,
    }

    class WholeGraphPartitioner(XnnpackPartitioner):
        """One partition where the delegate takes every op, instead of one per merged pattern.

        Constants of elementwise ops stay inputs of the delegate, which turns them to its layout
        (a few hundred values); inside it they would turn the activations beside them instead.
        """

        def __init__(self) -> None:
            super().__init__(configs=[own.get(c, c) for c in ALL_PARTITIONER_CONFIGS])

        def generate_partitions(self, ep: Any) -> list[Any]:
            found, whole = taken(self, ep)
            if not whole:
                return super().generate_partitions(ep)
            return [Partition(id=0, nodes=[n for n in ep.graph_module.graph.nodes if n in found])]

    return WholeGraphPartitioner


def taken(partitioner: Any, ep: Any) -> tuple[set[torch.fx.Node], bool]:
    """The nodes that the delegate takes; whether these are all ops but an answer's at the end."""
    found = {n for group in partitioner.get_matched_nodes_from_configs(ep) for n in group}
    ops = [n for n in ep.graph.nodes if n.op == "call_function"]
    while ops and ops[-1] not in found and op_name(ops[-1]) in ANSWER_OPS:
        ops.pop()
    return found, all(n in found for n in ops)


def kept_whole(graph: torch.fx.Graph) -> list[Any]:
    """The graph's ops that the delegate takes whole alone, so that they aren't decomposed."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS

    whole = {config().get_original_aten() for config in ALL_PARTITIONER_CONFIGS} - {None}
    return list(dict.fromkeys(n.target for n in graph.nodes if n.target in whole))


@functools.cache
def float_alone() -> frozenset[str]:
    """The ops that the delegate computes in float alone; a pass makes padding int8."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

    int8 = ConfigPrecisionType.STATIC_QUANT
    known = [config() for config in ALL_PARTITIONER_CONFIGS]
    floats = (c.target_name for c in known if int8 not in c.supported_precision_types())
    names = {name.partition(".")[0].lstrip("_") for name in floats}
    return frozenset(names - {"constant_pad_nd", "upsample_bilinear2d"})


@contextlib.contextmanager
def coded_resizes() -> Iterator[None]:
    """Inside the block, what resizes codes is written with their parameters: ExecuTorch's own
    writer gives such a resize a result in float, which XNNPACK then refuses."""
    from executorch.backends.xnnpack.operators import node_visitor

    writers = node_visitor._node_visitor_dict
    own: Any = writers[RESIZE]

    class Coded(own):  # type: ignore[misc]
        """Defines both tensors with what quantizes them, then writes the resize."""

        def define_node(self, node: Any, graph: Any, ids: dict[Any, int], handle: int) -> None:
            self.define_nodes_tensor_inputs_outputs(node, graph, ids, convert_to_nhwc=True)
            super().define_node(node, graph, ids, handle)

    writers[RESIZE] = Coded
    try:
        yield
    finally:
        writers[RESIZE] = own
