"""What holds for the profile of every lowered file, shared by the runtimes' tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from export.graph import QUANTIZE
from export.measure.profiling import fused_groups, profile_file
from export.targets.base import Cutter, SubProgram
from export.targets.target import target_of_file
from mobilemod.networks.efficientmod import EfficientMod, Variant
from quantization.params import ParameterTable


def check_profile(path: Path, table: ParameterTable, variant: Variant, folder: Path) -> None:
    """Profile a copy of the file beside its table: all ops, all multiply-accumulates, by name."""
    modules = {name for name, _ in EfficientMod(variant, 10).named_modules()}
    # One linear of the network, three of the form.
    modules |= {f"{name}.{i}" for name in modules if name.endswith(".qkv") for i in range(3)}
    copy = Path(shutil.copy(path, folder))
    table.save(folder / "parameters-xnnpack.json")
    profile = profile_file(copy, rounds=1)
    named = [u for u in profile.units if u.module in modules]
    assert len(named) >= 0.95 * len(profile.units)
    assert all(u.module in modules for u in profile.units if "conv" in u.op)
    assert {u.dtype for u in profile.units if u.op == "depthwise_conv"} == {"int8"}
    assert profile.whole_ms > 0 and profile.sum_ms > 0
    assert sum(u.macs for u in profile.units) == sum(
        n.macs for n in target_of_file(copy).read_graph(copy).nodes
    )
    assert any(u.op.endswith("(table)") for u in profile.units)
    assert min(u.ms for u in profile.units) >= 0


def check_groups(cutter: Cutter) -> None:
    """Every node is in one group, and a group is cut out whole."""
    groups = fused_groups(cutter.graph)
    nodes = [i for group in groups for i in group]
    assert sorted(nodes) == list(range(len(cutter.graph.nodes)))
    table = next(g for g in groups if len(g) == 3)
    (result,) = cutter.program(table).outputs()
    expected = cutter.graph.tensors[cutter.graph.nodes[table[-1]].outputs[0]]
    assert result.shape == expected.shape and result.dtype == np.int8


def check_cut_computes(cutter: Cutter, first: SubProgram) -> None:
    """The file's first quantize, alone, gives the codes that its parameters say."""
    node = next(n for n in cutter.graph.nodes if n.op == QUANTIZE)
    params = cutter.graph.tensors[node.outputs[0]]
    first.run()
    (codes,) = first.outputs()
    expected = np.round(first.inputs[0] / np.float32(params.scale[0])) + params.zero_point[0]
    assert np.abs(codes - np.clip(expected, -128, 127)).max() <= 1  # ties
    assert len(np.unique(codes)) > 20
