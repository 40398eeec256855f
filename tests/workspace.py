"""A folder in which the docs' command lines run as they stand: each name in them lies there.

Networks of ours are a block of each kind with drawn weights, images are of 32 or 64 pixels, two a
class; everything else is real.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image

from mobilemod.networks import efficientmod, efficientmod_fpn
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.registry import get_variant
from mobilemod.networks.synthetic import trained_like_state
from tests.commands import ROOT
from tests.foreign import NETWORKS, save
from tests.tiny_bundle import IDS, draw_data
from tests.tiny_maps import IDS as MAPS
from tests.tiny_maps import draw_scenes, make_maps_bundle

MODEL = "efficientmod_xxs"
PHOTOGRAPHS = (
    "IMAGES", "MYFOLDER", "THREE", "images", "imagenet", "data/imagenette/imagenette2-320",
)  # fmt: skip
# A checkpoint's name -> its network.
CHECKPOINTS = {
    "imagenet.safetensors": MODEL,
    "model.safetensors": MODEL,
    f"{MODEL}-largest-2.safetensors": MODEL,
    "official.pth.tar": "efficientmod_s",
    "runs/s_conv/efficientmod_s_conv.safetensors": "efficientmod_s_conv",
}
FUNCTION = """
from torch import nn

def mine():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )

atto = mine
"""


def patch_variants(patch: pytest.MonkeyPatch, small: efficientmod.Variant, folder: Path) -> None:
    """Every variant of ours becomes `small`, by its own name; bundled weights lie in `folder`."""
    for name in efficientmod.VARIANTS:
        patch.setitem(efficientmod.VARIANTS, name, dataclasses.replace(small, name=name))
    for name, variant in efficientmod_fpn.VARIANTS.items():
        backbone = efficientmod.VARIANTS[variant.backbone.name]
        patch.setitem(efficientmod_fpn.VARIANTS, name, efficientmod_fpn.Variant(name, backbone))
    bundled = dict(efficientmod.FAMILY.bundled)
    path = draw_checkpoint(folder / f"{MODEL}.safetensors", MODEL, IDS)
    bundled[MODEL] = dataclasses.replace(bundled[MODEL], file=str(path))
    family = dataclasses.replace(efficientmod.FAMILY, bundled=bundled)
    patch.setattr(efficientmod, "FAMILY", family)


def draw_checkpoint(path: Path, model: str, labels: tuple[str, ...]) -> Path:
    """Drawn weights, for `labels`, in `path`, which is returned.

    A name as authors give theirs (`.pth.tar`) is a training file's, for ImageNet's 1,000 classes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tar":
        torch.save({"state_dict": trained_like_state(get_variant(model), 1000)}, path)
        return path
    known = {"model": model, "labels": json.dumps(labels), "num_classes": str(len(labels))}
    save_checkpoint(path, trained_like_state(get_variant(model), len(labels)), known, torch.float32)
    return path


def make_workspace(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, which is returned; files: texts by name. `patch_variants` comes first."""
    photographs = draw_data(folder / "DIR", 2)
    shutil.copytree(photographs / "val", photographs / "train")
    scenes = draw_scenes(folder / "SCENES", 6)
    shutil.copytree(scenes / "val", scenes / "train")
    for name in PHOTOGRAPHS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(photographs)
    with Image.open(next((photographs / "val").rglob("*.png"))) as image:
        (folder / "holiday").mkdir()
        for name in ("photo.jpg", "street.jpg", "holiday/beach.jpg"):
            image.save(folder / name)
    for name, model in CHECKPOINTS.items():
        draw_checkpoint(folder / name, model, IDS)
    draw_checkpoint(folder / "RUN1" / f"{MODEL}_fpn.safetensors", f"{MODEL}_fpn", MAPS)
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "nets.py").write_text(FUNCTION)
    space: dict[str, object] = {}
    exec(FUNCTION, space)
    torch.save(space["mine"]().state_dict(), folder / "runs" / "best.pth")
    shape, *images = NETWORKS["ConvNextV2"]
    shape = {**shape, "id2label": dict(enumerate(IDS))}
    for name in ("models/convnextv2-atto", "runs/mobilenetv2", "models/mine"):
        save(folder / name, "ConvNextV2ForImageClassification", shape, *images)
    (folder / "classes.txt").write_text("".join(f"{wnid}\n" for wnid in IDS))
    make_maps_bundle(folder / "dist" / f"{MODEL}_fpn")
    for name, text in files.items():
        (folder / name).write_text(text)
    for name in ("docs", "tests"):
        (folder / name).symlink_to(ROOT / name)
    return folder
