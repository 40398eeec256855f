"""SegFormer-b0 as a folder of Hugging Face's holds it: its canonical form, and what that computes.

Weights are drawn with a trained network's spread; the configuration is that of the network which
was published for ADE20K's 150 classes.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from benchmarks.segmentation.segformer import B0, write_folder
from export.quiet import quiet
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, NamedConv2d
from mobilemod.networks.foreign.hugging_face import open_folder
from mobilemod.networks.foreign.opened import Asked

SIZE, CLASSES, WIDTH = 128, 150, 256
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf") / "segformer-b0"
    with quiet():
        write_folder(folder, [f"class {i}" for i in range(CLASSES)], reduce_labels=True)
    return open_folder(folder, Asked(size=SIZE))


@pytest.fixture(scope="module")
def canonical(opened):
    return canonical_form(opened.module, opened.preprocess.shape)


def layers_macs(module: nn.Module, x: torch.Tensor) -> Counter[str]:
    """Multiply-accumulates of convolutions and linear layers, by the first part of their paths."""
    found: Counter[str] = Counter()

    def count(name: str):
        def see(layer, inputs, output):
            channels = 1 if isinstance(layer, nn.Conv2d) else -1
            each = layer.weight.numel() / output.shape[channels]
            found[name.split(".")[1]] += int(output.numel() * each)

        return see

    hooks = [
        layer.register_forward_hook(count(name))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    module(x)
    for hook in hooks:
        hook.remove()
    return found


def form_macs(canonical) -> Counter[str]:
    """The same of a form."""
    found: Counter[str] = Counter()
    for node in canonical.graph.of(NamedConv2d):
        _, channels, height, width = node.shape
        part = node.op.module.split(".")[1]
        found[part] += node.op.weight[0].numel() * channels * height * width
    return found


def test_a_folder_is_the_network(opened):
    assert (opened.task, opened.num_classes) == ("segmentation", CLASSES)
    assert opened.preprocess.fit == "stretch" and opened.input_shape == (1, 3, SIZE, SIZE)


def test_its_form_is_whole(canonical):
    assert canonical.left == ()
    assert not {"other", "whole"} & {node.role for node in canonical.graph.nodes}


@pytest.mark.parametrize("options", [XNNPACK_FORM, COREML_FORM], ids=["xnnpack", "coreml"])
@torch.no_grad()
def test_its_form_computes_the_same(opened, canonical, options):
    x = torch.randn(opened.input_shape, generator=torch.Generator().manual_seed(0))
    expected, found = opened.module(x), canonical.form(options)(x)
    assert found.shape == (1, CLASSES, SIZE // 4, SIZE // 4)
    assert float((found - expected).abs().max()) <= TOLERANCE
    assert float(expected.std(dim=(2, 3)).max()) > 0.1


@torch.no_grad()
def test_its_decoder_mixes_channels_before_it_enlarges_maps(opened, canonical):
    """Four projections and the convolution of their join are one convolution a level."""
    own, made = layers_macs(opened.module, torch.zeros(opened.input_shape)), form_macs(canonical)
    assert made["segformer"] == own["segformer"]
    maps = [(SIZE // side) ** 2 for side in (4, 8, 16, 32)]
    levels = [n * c * WIDTH for n, c in zip(maps, B0["hidden_sizes"], strict=True)]
    classes = maps[0] * WIDTH * CLASSES
    assert own["decode_head"] == sum(levels) + maps[0] * 4 * WIDTH * WIDTH + classes
    assert made["decode_head"] == sum(levels) + classes
    assert made["decode_head"] < own["decode_head"] / 5
