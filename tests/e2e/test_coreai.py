"""Core AI by the command line: both float twins beside the int8 file, measured and compared."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
from torch import nn

from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.manifest import load_bundle
from mobilemod.networks.synthetic import trained_like
from mobilemod.targets.coreai import FACTS
from quantization.recipe import load_recipe
from tests.commands import ROOT

MISSING = any(importlib.util.find_spec(p) is None for p in FACTS.packages)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MISSING, reason=f"needs Core AI: '{FACTS.installed_by}' installs it"),
]
MODULE = """
from torch import nn

class Tiny(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(32, 10),
        )
"""


@pytest.fixture
def exported(export, data_dir, tmp_path):
    """`exported(by)`: the bundle of a small network whose tensors are `by` times as large within,
    and what the command printed."""

    def call(by: float):
        (tmp_path / "mine.py").write_text(MODULE)
        namespace: dict = {}
        exec(MODULE, namespace)
        network: nn.Sequential = namespace["Tiny"]().eval()
        torch.manual_seed(0)
        shapes = {k: v.shape for k, v in network.state_dict().items()}
        network.load_state_dict(trained_like(shapes))
        with torch.no_grad():
            network[0].weight *= by
            network[8].weight /= by
        torch.save(network.state_dict(), tmp_path / "tiny.pt")
        recipe, out = (tmp_path / name for name in ("recipe.json", "out"))
        recipe.write_text(json.dumps(load_recipe("cpu").to_dict() | {"calibration_images": 16}))
        done = export(
            out, "--network", "mine:Tiny", "--checkpoint", tmp_path / "tiny.pt", "--size", "64",
            "--data", data_dir, "--recipe", recipe, "--targets", "coreai",
            PYTHONPATH=f"{tmp_path}:{ROOT}",
        )  # fmt: skip
        return load_bundle(out), done.stdout

    return call


def test_the_int8_file_and_both_float_twins_of_one_table(exported, run, data_dir):
    bundle, said = exported(1.0)
    files = [f.file for f in bundle.manifest.files if f.target == "coreai"]
    assert files == [f"tiny_{p}.aimodel" for p in ("int8", "float32", "float16")]
    assert "left out" not in said
    golden = bundle.manifest.golden
    reference = np.array([image.logits["reference"] for image in golden])
    decibels = [sqnr_db(reference, np.array([image.logits[f] for image in golden])) for f in files]
    assert decibels[0] > 20 and 45 < decibels[2] < 100 < decibels[1]
    measured = ("--limit", "8", "--classes", "sorted", "--max-drop", "100")
    done = run("validate", bundle.folder, "--data", data_dir, *measured)
    assert all(f"coreai {p}" in done.stdout for p in ("int8", "float16", "float32")), done.stderr
    image = bundle.file(golden[0].image)
    for other, why in (("program", "rounding: "), (files[2], "precision: ")):
        other = bundle.folder / other if other in files else other
        done = run("diff", bundle.folder / files[0], other, "--image", image)
        assert done.returncode == 0, done.stderr
        assert why in done.stdout or "identical in all" in done.stdout


def test_a_network_beyond_float16_has_no_twin_in_it_and_is_told(exported):
    bundle, said = exported(1e6)
    files = [f.file for f in bundle.manifest.files if f.target == "coreai"]
    assert files == ["tiny_int8.aimodel", "tiny_float32.aimodel"]
    (line,) = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert "tiny_float16.aimodel: " in line and "dB in float16, 40 dB wanted" in line
    assert "--targets" not in line
