"""Folders of Hugging Face's through the command line: files that are int8 and answer alike."""

from __future__ import annotations

import json

import numpy as np
import pytest

from export.quiet import quiet
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.networks.synthetic import trained_like
from quantization.recipe import load_recipe

SIZE = 64
# name -> (configuration, processor, its size)
NETWORKS = {
    "ConvNextV2": (dict(hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1]),
                   "ConvNext", {"shortest_edge": SIZE}),
    "ViT": (dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
                 image_size=SIZE),
            "ViT", {"height": SIZE, "width": SIZE}),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def folder(request, tmp_path):
    """A network of a trained one's spread, whose two outputs nothing names, as it is saved."""
    shape, processor, size = NETWORKS[request.param]
    with quiet():
        import transformers

        config = getattr(transformers, f"{request.param}Config")(**shape)
        network = getattr(transformers, f"{request.param}ForImageClassification")(config)
        shapes = {k: v.shape for k, v in network.state_dict().items()}
        network.load_state_dict(trained_like(shapes))
        network.save_pretrained(tmp_path / "tiny")
        made = getattr(transformers, f"{processor}ImageProcessorPil")(size=size)
        made.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.slow
def test_a_folder_becomes_files_that_answer_as_its_network_does(folder, export, data_dir, tmp_path):
    recipe, out, record = (tmp_path / name for name in ("recipe.json", "out", "record.json"))
    recipe.write_text(json.dumps(load_recipe("cpu").to_dict() | {"calibration_images": 32}))
    export(
        out, "--network", f"hf:{folder}", "--data", data_dir, "--targets", "executorch,tflite",
        "--recipe", recipe, "--json", record,
    )  # fmt: skip
    files = {f["file"]: f for f in json.loads(record.read_text("utf-8"))["files"]}
    assert len(files) == 4
    golden = json.loads((out / "manifest.json").read_text("utf-8"))["golden"]
    assert all(image["target"] is None for image in golden)
    reference = np.array([image["logits"]["reference"] for image in golden])
    for name, file in files.items():
        own = np.array([image["logits"][name] for image in golden])
        if file["precision"] == "int8":
            assert file["audit"]["int8_share"] >= 0.99
            assert sqnr_db(reference, own) >= 20  # over all images: an output or two say little
        else:
            assert np.abs(own - reference).max() <= 1e-4 * np.abs(reference).max()
    assert len(golden) > 1
