"""Images made larger are the same in the float program and in every runtime's files.

By pixels repeated and bilinearly between centres of pixels, of odd and of oblong sizes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.targets.base import FORMS, ModelInfo
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.canonical import canonical_form
from quantization.calibration import Calibration, observe
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe

MODES = ("nearest", "bilinear")
FACTORS = {"nearest": ((2, 2), (3, 1), (1, 5)), "bilinear": ((2, 2), (4, 4), (3, 2))}
SIDES = (17, 24)
TARGETS = ("executorch", "tflite", "coreml")


class Resizes(nn.Module):
    """A convolution's result made larger by every factor, the results side by side."""

    def __init__(self, mode: str):
        super().__init__()
        torch.manual_seed(0)
        self.mode, self.first = mode, nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        made = [F.interpolate(x, scale_factor=f, mode=self.mode) for f in FACTORS[self.mode]]
        return torch.cat([m.flatten(1) for m in made], 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TARGETS)
@torch.no_grad()
def test_files_resize_as_torch_does(name, mode, tmp_path):
    """In float to float32's last bits (Core ML's: float16's); in int8 to the bit where codes are
    moved, and within one step, of rounding halves, where they are mixed."""
    target, network = get_target(name), Resizes(mode).eval()
    preprocess = Preprocess(SIDES, 1.0, fit="stretch")
    pixels = np.random.default_rng(1).integers(0, 256, (1, *SIDES, 3), np.uint8)
    image = torch.from_numpy(preprocess.normalize(pixels))
    form = canonical_form(network, (3, *SIDES)).form(FORMS[target.facts.form])
    seen = Calibration("", "", 1, observe(form, [image], 1))
    table = make_table(form, target.facts.form, load_recipe("cpu"), seen)
    program = quantize(form, table, target.facts.fold)
    expected = network(image)
    assert torch.allclose(form(image), expected, atol=1e-6)
    labels = tuple(map(str, range(expected.shape[1])))
    info = ModelInfo("resizes", labels, preprocess)
    for module, int8 in ((form, False), (program, True)):
        path = tmp_path / f"{int8}{target.facts.suffix}"
        target.lower(module, info, path, int8=int8)
        found = np.asarray(target.load(path).run(image.numpy())).reshape(1, -1)
        difference = float((torch.from_numpy(found) - module(image)).abs().max())
        step = table.entries["first:out"].scale[0]
        near = 1e-6 if mode == "nearest" else 1.001 * step
        limit = (near if int8 else 1e-5) if name != "coreml" else 2e-2 * float(expected.abs().max())
        assert difference <= limit, (int8, difference, step)
        if name != "coreml":
            graph = target.read_graph(path)
            assert graph.partitions == 1 and all(n.partition is not None for n in graph.nodes)
