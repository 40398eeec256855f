"""ExecuTorch: a mobile form or its quantized program as a `.pte` for the XNNPACK delegate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401  (registers quantized_decomposed)
from torch import nn

from export.quiet import quiet
from export.targets.base import ModelInfo, common_path
from export.targets.executorch.classes import Classes
from export.targets.executorch.notes import METADATA_METHOD, notes, relabel
from export.targets.executorch.reader import MODULE_FRAME
from export.targets.executorch.tanh_gelu import without_tanh_gelu
from export.targets.executorch.xnnpack.graph import simplify
from export.targets.executorch.xnnpack.taking import (
    coded_resizes,
    float_alone,
    kept_whole,
    op_name,
    partitioner_class,
    taken,
)
from mobilemod.evaluation.runs import CLASSES
from mobilemod.files import atomic_path

QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = torch.ops.quantized_decomposed.dequantize_per_channel.default

BATCH_NORMS = ("_native_batch_norm_legit_no_training", "native_batch_norm")
# The delegate's passes that do nothing but where an op stands: pass -> the ops. Each traces the
# whole graph again; where there is none of them the file is the same, in half the time.
# The first three look for what no delegated graph has: bilinear upsampling and attention in
# pieces, and metadata that only large language models bring.
PASSES_FOR: dict[str, tuple[str, ...]] = {
    "ConvertToUpsampleBilinear2d": (),
    "ConvertToSDPAPass": (),
    "PropagateCustomMetaPass": (),
    "ConvertToLinearPass": ("linear", "mm", "addmm"),
    "FuseBatchNormPass": BATCH_NORMS,
    "DecomposeBatchNorm": BATCH_NORMS,
    "RemoveGetItemPass": ("getitem",),
    "FuseActivationPass": ("relu", "hardtanh"),
    "DecomposeConcatenate": ("cat",),
    "InsertPadQDQPass": ("constant_pad_nd",),
    "Conv1dUnsqueezePass": ("convolution", *BATCH_NORMS),  # 1-D ones become convolutions
    "PReLUReshapePass": ("_prelu_kernel", "prelu"),
}
# Ops that work along the last axis as it lies in memory. Behind a convolution that is the
# channels', which the delegate forgets: its softmax then runs over another axis.
LAST_AXIS = ("_softmax",)
# What the partitioner writes upon a dequantize that is part of an int8 op.
FOLDED_MARK = "IS_IMPLICIT_Q_DQ_TAG"
# A cat of more pieces is done in two.
MOST_PIECES = 5


def lower(
    module: nn.Module, info: ModelInfo, path: Path, *, int8: bool, all_passes: bool = False
) -> None:
    """Write `module` to `path` as a `.pte` with one input, float32 (1, 3, H, W), and its logits, or
    their map of classes, uint8 (1, h, w).

    The method "metadata" of the file returns labels and preprocessing as JSON. int8 changes
    nothing here: the graph itself says what is quantized. all_passes: leave none of the
    delegate's passes out; slower, the same bytes.
    """
    del int8
    with quiet(), _delegate_passes(all_passes), coded_resizes(), torch.no_grad():
        from executorch.exir import EdgeCompileConfig, to_edge

        image = torch.zeros(1, *info.preprocess.shape)
        module = Classes(module) if info.answer == CLASSES else module
        written = without_tanh_gelu(module.eval(), tuple(image.shape))
        exported = torch.export.export(written, (image,))
        _split_dequantize(exported.graph)
        # to_edge and to_backend: to_edge_transform_and_lower decomposes three times, not once.
        kept = kept_whole(exported.graph)
        edge = to_edge(
            exported,
            constant_methods={METADATA_METHOD: notes(info)},
            compile_config=EdgeCompileConfig(_check_ir_validity=False, preserve_ops=kept),
        )
        partitioner = partitioner_class()()
        if not taken(partitioner, edge.exported_program())[1]:
            _dequantize_each(edge.exported_program().graph)
        program = edge.to_backend(partitioner).to_executorch()
        content = with_modules(program, module)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the `.pte` at `source` to `path` with other labels and name: the same program."""
    del int8
    relabel(source, info, path)


def with_modules(program: Any, module: nn.Module) -> bytes:
    """The file's bytes; where kernels run outside the delegate, with the module that each is of.

    The format has a place for where an instruction comes from: `stacktrace`.
    """
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
    from executorch.exir.schema import Frame, FrameList, KernelCall

    file = deserialize_pte_binary(program.buffer)
    plan = file.program.execution_plan[0]
    (chain,) = plan.chains
    if not any(isinstance(i.instr_args, KernelCall) for i in chain.instructions):
        return program.buffer
    nodes = [n for n in program.exported_program().graph.nodes if n.op == "call_function"]
    frames = []
    for instruction in chain.instructions:
        items = []
        if isinstance(instruction.instr_args, KernelCall):
            name = plan.operators[instruction.instr_args.op_index].name
            schemas = (getattr(n.target, "_schema", None) for n in nodes)
            place = next((i for i, s in enumerate(schemas) if s and s.name == name), None)
            if place is not None:  # instructions stand in the graph's order
                path = _network_module(nodes[place], module)
                items = [Frame(filename=MODULE_FRAME, lineno=0, name=path, context=name)]
                nodes = nodes[place + 1 :]
        frames.append(FrameList(items=items))
    chain.stacktrace = frames
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


def _network_module(node: torch.fx.Node, module: nn.Module) -> str:
    """The network's module that a node is of: its own, or that of what it works on."""
    while True:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if stack:
            return common_path(module.get_submodule(stack[-1][0].partition("@")[0]))
        before = [n for n in node.all_input_nodes if n.op == "call_function"]
        if not before:
            return ""
        node = before[0]


def _split_dequantize(graph: torch.fx.Graph) -> None:
    """A dequantize of its own for the float ops that read what int8 ops read too.

    The delegate folds a dequantize into an int8 op and would take the value for int8 elsewhere.
    """
    for node in [n for n in graph.nodes if n.target is DEQUANTIZE]:
        floats = [user for user in node.users if not _is_int8(user)]
        if 0 < len(floats) < len(node.users):
            with graph.inserting_after(node):
                own = graph.node_copy(node)
            for user in floats:
                user.replace_input_with(node, own)


def _dequantize_each(graph: torch.fx.Graph) -> None:
    """A dequantize of its own for each reader, without the mark of one that an int8 op folds in.

    Where one partition hands a dequantized value to the next, the delegate turns it to channels
    first for those that read it within, too. Where a marked one is handed out, it never runs, and
    its reader gets what lies in memory; partitioning marks again those that are folded in.
    """
    for node in [n for n in graph.nodes if op_name(n) == "dequantize_per_tensor"]:
        node.meta.pop(FOLDED_MARK, None)
        for user in list(node.users)[1:]:
            with graph.inserting_after(node):
                user.replace_input_with(node, graph.node_copy(node))


def _is_int8(node: torch.fx.Node) -> bool:
    """Whether the delegate makes one int8 op of this and the dequantize and quantize around it."""
    if op_name(node).lstrip("_") in float_alone():
        return False
    dequantized = [n.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS) for n in node.all_input_nodes]
    if node.target is torch.ops.aten.conv2d.default:
        return all(dequantized[:2])
    return all(dequantized) and [user.target for user in node.users] == [QUANTIZE]


@contextlib.contextmanager
def _delegate_passes(all_passes: bool) -> Iterator[None]:
    """Inside the block, the delegate's graphs are simplified, `LAST_AXIS` ops are given the layout
    that they need, and but for all_passes the passes without work are left out."""
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack._passes import ChannelsLastTaggedReshapePass as Layout

    manager = xnnpack_preprocess.XNNPACKPassManager
    serialize = xnnpack_preprocess.serialize_xnnpack_binary
    channels_first = Layout.memory_sensitive_ops_nchw

    class ShortPassManager(manager):  # type: ignore[misc, valid-type]
        def __init__(self, exported_program: Any, passes: list[type] | None = None) -> None:
            super().__init__(exported_program, passes)
            nodes = exported_program.graph.nodes
            last = {n.target for n in nodes if op_name(n) in LAST_AXIS}
            Layout.memory_sensitive_ops_nchw = channels_first | last
            if not all_passes:
                ops = {op_name(n) for n in nodes if _has_work(n)}
                idle = {name for name, wanted in PASSES_FOR.items() if ops.isdisjoint(wanted)}
                self.passes = [p for p in self.passes if p.__name__ not in idle]

    def serialize_simplified(graph: Any, constants: bytearray) -> bytes:
        return serialize(simplify(graph), constants)

    xnnpack_preprocess.XNNPACKPassManager = ShortPassManager
    xnnpack_preprocess.serialize_xnnpack_binary = serialize_simplified
    try:
        yield
    finally:
        xnnpack_preprocess.XNNPACKPassManager = manager
        xnnpack_preprocess.serialize_xnnpack_binary = serialize
        Layout.memory_sensitive_ops_nchw = channels_first


def _has_work(node: torch.fx.Node) -> bool:
    """Whether a pass for the op has something to do at this one."""
    if op_name(node) == "cat":
        return len(node.args[0]) > MOST_PIECES
    return op_name(node) != "convolution" or len(node.args[3]) == 1  # stride, of a 1-D one
