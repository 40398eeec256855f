"""Convolutions of a feature pyramid, computed on its maps, are the program's in every file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.checking import check_lowered
from export.targets.base import FORMS, ModelInfo
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.canonical import canonical_form
from quantization.calibration import Calibration, observe
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe

SIDES, WIDE, NARROW = (16, 24), 24, 12


class Pyramid(nn.Module):
    """Three maps, the coarser ones brought to the finer, the two finest convolved twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.ModuleList(nn.Conv2d(3, c, s, s) for c, s in ((3, 2), (4, 4), (6, 8)))
        self.lateral = nn.ModuleList(nn.Conv2d(c, WIDE, 1) for c in (3, 4, 6))
        self.neck = nn.ModuleList(nn.Conv2d(WIDE, WIDE, 3, padding=1) for _ in range(2))
        self.head = nn.ModuleList(nn.Conv2d(WIDE, NARROW, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        levels = [
            lateral(torch.tanh(m(x))) for m, lateral in zip(self.maps, self.lateral, strict=True)
        ]
        for i in (1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2)
        fine, coarse = (self.head[i](self.neck[i](levels[i])) for i in (0, 1))
        return (F.relu(fine) + F.interpolate(F.relu(coarse), scale_factor=2)).flatten(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["executorch", "tflite", "coreml"])
@torch.no_grad()
def test_files_convolve_levels_as_torch_does(name, tmp_path):
    target, network = get_target(name), Pyramid().eval()
    preprocess = Preprocess(SIDES, 1.0, fit="stretch")
    pixels = np.random.default_rng(1).integers(0, 256, (1, *SIDES, 3), np.uint8)
    image = torch.from_numpy(preprocess.normalize(pixels))
    canonical = canonical_form(network, (3, *SIDES))
    assert canonical.rewrites["two convolutions of a pyramid's level on its maps"] == 2
    assert canonical.rewrites["convolutions of a pyramid's level on its maps"] == 1
    form = canonical.form(FORMS[target.facts.form])
    seen = Calibration("", "", 1, observe(form, [image], 1))
    table = make_table(form, target.facts.form, load_recipe("cpu"), seen)
    program = quantize(form, table, target.facts.fold)
    expected = network(image)
    assert torch.allclose(form(image), expected, atol=1e-6)
    info = ModelInfo("pyramid", tuple(map(str, range(expected.shape[1]))), preprocess)
    for module, int8 in ((form, False), (program, True)):
        path = tmp_path / f"{int8}{target.facts.suffix}"
        target.lower(module, info, path, int8=int8)
        check_lowered(target, info, path, form, module, image.numpy())
        if name != "coreml":
            graph = target.read_graph(path)
            assert graph.partitions == 1 and all(n.partition is not None for n in graph.nodes)
            convs = [n for n in graph.nodes if "conv" in n.op]
            assert all((graph.tensors[n.inputs[0]].dtype == "int8") == int8 for n in convs)
