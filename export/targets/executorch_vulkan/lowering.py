"""ExecuTorch with Vulkan: a mobile form or its quantized program as a `.pte` by its partitioner.

Floats are float16. Where convolutions and sums stand between dequantize and quantize, the delegate
makes int8 ops of them with the program's scales.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401  (registers quantized_decomposed)
from torch import nn

from export.quiet import quiet
from export.targets.base import ModelInfo
from export.targets.executorch.lowering import with_modules
from export.targets.executorch.notes import METADATA_METHOD, notes, relabel
from mobilemod.files import atomic_path

OPTIONS = {"force_fp16": True}


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write `module` to `path` as a `.pte` with one input, float32 (1, 3, H, W), and its logits.

    int8 changes nothing here: the graph itself says what is quantized. The method "metadata"
    returns labels and preprocessing, as in the other `.pte`.
    """
    del int8
    root = logging.getLogger()
    level = root.level
    with quiet(), torch.no_grad():
        from executorch.backends.vulkan.partitioner import vulkan_partitioner
        from executorch.exir import EdgeCompileConfig, to_edge

        # Its import has the whole process log every op.
        root.setLevel(level)
        whole = set(vulkan_partitioner.ops_not_to_decompose)
        exported = torch.export.export(module.eval(), (torch.zeros(1, *info.preprocess.shape),))
        kept = list(dict.fromkeys(n.target for n in exported.graph.nodes if n.target in whole))
        edge = to_edge(
            exported,
            constant_methods={METADATA_METHOD: notes(info)},
            compile_config=EdgeCompileConfig(_check_ir_validity=False, preserve_ops=kept),
        )
        partitioner = vulkan_partitioner.VulkanPartitioner(dict(OPTIONS))
        content = with_modules(edge.to_backend(partitioner).to_executorch(), module)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the `.pte` at `source` to `path` with other labels and name: the same program."""
    del int8
    relabel(source, info, path)
