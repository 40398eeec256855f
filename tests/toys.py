"""The packages with toys added, each the one file or folder that docs/architecture.md promises."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.commands import ROOT

TOYS = ROOT / "tests" / "data"
PACKAGES = ("mobilemod", "quantization", "export")
RECIPE = {
    "schema": "mobilemod/recipe/1",
    "name": "toy",
    "description": "Everything in int8.",
    "observer": "minmax",
    "calibration_images": 8,
    "rules": [{"tensors": "*", "dtype": "int8"}],
}
# A network that is lowered soon and yet has files of some megabytes.
TOY = (
    *("--model", "toy_large", "--checkpoint", "toy_large.pth", "--data", "data"),
    *("--targets", "executorch"),
)
LABELS = ("dog", "cat", "bird")
MAKE_CHECKPOINTS = (
    "import torch\nfrom mobilemod.networks.registry import get_variant\n"
    "from mobilemod.networks.synthetic import trained_like_state\n"
    "for name, outputs in (('toy_small', 3), ('toy_large', 3), ('grey_small', 1)):\n"
    "    torch.save(trained_like_state(get_variant(name), outputs), name + '.pth')"
)


def make_tree(root: Path) -> Path:
    """`root` with the packages, all toys among them, their weights, and images."""
    for name in PACKAGES:
        skip = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=skip)
    shutil.copy(TOYS / "toy_family.py", root / "mobilemod" / "networks" / "toy.py")
    shutil.copy(TOYS / "toy_target" / "facts.py", root / "mobilemod" / "targets" / "toy.py")
    shutil.copy(TOYS / "toy_task.py", root / "mobilemod" / "tasks" / "brightness.py")
    family = (TOYS / "toy_family.py").read_text("utf-8").replace('"toy_', '"grey_')
    family = family.replace('labels=("dog", "cat", "bird")', 'labels=("grey",), task="brightness"')
    (root / "mobilemod" / "networks" / "grey.py").write_text(family, "utf-8")
    parts = shutil.ignore_patterns("facts.py", "__pycache__")
    shutil.copytree(TOYS / "toy_target", root / "export" / "targets" / "toy", ignore=parts)
    shutil.copy(TOYS / "toy_driver.py", root / "mobilemod" / "harness" / "drivers" / "toy.py")
    (root / "quantization" / "recipes" / "toy.json").write_text(json.dumps(RECIPE))
    rng = np.random.default_rng(0)
    for (split, count), label in itertools.product((("train", 12), ("val", 2)), LABELS):
        (root / "data" / split / label).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((80, 72), Image.Resampling.BICUBIC)
            image.save(root / "data" / split / label / f"{i}.png")
    done = at(root, "-c", MAKE_CHECKPOINTS)
    assert done.returncode == 0, done.stderr
    return root


def environment(tree: Path) -> dict[str, str]:
    """That of a process in `tree`, with a cache there."""
    return {**os.environ, "PYTHONPATH": str(tree), "MOBILEMOD_CACHE": str(tree / "cache")}


def at(tree: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Python in `tree`; the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=tree,
        env=environment(tree) | more,
        capture_output=True,
        text=True,
    )
