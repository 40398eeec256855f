"""EfficientFormerV2 from a checkpoint to model files: attention with talking heads, resized images,
two heads of classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.auditing.audit import inspect_file
from export.bundle import ExportConfig, export_bundle
from mobilemod.networks import efficientformerv2 as family
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.synthetic import trained_like_state

# s0 with one block of each kind, for images of 64 pixels.
SHALLOW = family.Variant(
    "efficientformerv2_shallow", (32, 48, 96, 176), ((4,), (4,), (4, 4), (4, 4)), (0, 0, 1, 1), 64
)
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    """What its export says; that each file computes what its program does is checked there."""
    folder = tmp_path_factory.mktemp("shallow")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CLASSES:
            (folder / "data" / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = rng.integers(0, 256, (72, 72, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{i}.png")
    checkpoint = folder / "weights.safetensors"
    labels = json.dumps(CLASSES)
    metadata = {"model": SHALLOW.name, "labels": labels}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(family.VARIANTS, SHALLOW.name, SHALLOW)
        patch.setenv("MOBILEMOD_CACHE", str(folder / "cache"))
        state = trained_like_state(SHALLOW, len(CLASSES))
        save_checkpoint(checkpoint, state, metadata, torch.float32)
        out = folder / "bundle"
        config = ExportConfig(SHALLOW.name, out, checkpoint, folder / "data")
        return export_bundle(config).to_dict()


@pytest.mark.slow
def test_it_is_int8_on_every_runtime(record):
    int8 = [f for f in record["files"] if f["precision"] == "int8"]
    assert {f["target"] for f in int8} == {"executorch", "tflite", "coreml"}
    for file in int8:
        audit = inspect_file(Path(record["bundle"]) / file["file"])
        assert audit.int8_share >= 0.99
        if file["target"] != "coreml":
            assert (audit.partitions, audit.outside) == (1, {})
