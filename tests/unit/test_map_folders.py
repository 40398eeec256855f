"""Folders of Hugging Face's with networks that give a class for every pixel."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mobilemod.data.preprocess import Preprocess
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from mobilemod.networks.foreign.hugging_face import open_folder
from mobilemod.networks.foreign.opened import Asked
from tests.unit.test_sources import (
    CLASSES,
    CONFIG,
    PROCESSOR,
    configured,
    edit,
    library,  # noqa: F401
    logits,
    refused,
    save,
)

SQUARE = {"height": 64, "width": 64}
TINY = dict(hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 3],
            decoder_hidden_size=16)  # fmt: skip
CROPPED = {"size": {"shortest_edge": 80}, "crop_size": SQUARE}
# name -> (configuration, processor, what it is told)
NETWORKS = {
    "Segformer": (TINY, "Segformer", {"size": SQUARE, "do_reduce_labels": True}),
    "MobileViT": (dict(hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 8, 16, 16, 32],
                       num_attention_heads=2, aspp_out_channels=16),
                  "MobileViT", CROPPED),
    "MobileNetV2": (dict(depth_multiplier=0.25), "MobileNetV2", CROPPED),
    "Beit": (dict(hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8,
                  image_size=64, out_indices=[1, 2, 3, 4], pool_scales=[1, 2]),
             "Beit", {"size": SQUARE, "do_center_crop": False}),
    "UperNet": (dict(hidden_size=8, pool_scales=[1, 2], auxiliary_in_channels=8,
                     auxiliary_channels=8), "Segformer", {"size": SQUARE}),
}  # fmt: skip


def network_of(library, name: str):  # noqa: F811
    shape = dict(NETWORKS[name][0])
    if name == "UperNet":
        shape["backbone_config"] = library.ConvNextConfig(
            hidden_sizes=[4, 4, 8, 8], depths=[1, 1, 1, 1],
            out_features=[f"stage{i}" for i in range(1, 5)],
        )  # fmt: skip
    return getattr(library, f"{name}ForSemanticSegmentation")(configured(library, name, shape))


@pytest.fixture(scope="module")
def saved(library, tmp_path_factory):  # noqa: F811
    """name -> (folder, network)."""
    made = {}
    for name, (_, processor, values) in NETWORKS.items():
        folder = tmp_path_factory.mktemp(name) / name
        made[name] = folder, network_of(library, name)
        save(library, made[name][1], processor, values, folder)
    return made


@pytest.fixture
def folder(saved, tmp_path):
    """A folder to change: SegFormer's."""
    return shutil.copytree(saved["Segformer"][0], tmp_path / "net")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folder_gives_the_network_that_was_saved(saved, library, name):  # noqa: F811
    """In eval mode, its map alone: without losses and auxiliary heads."""
    folder, network = saved[name]
    opened = open_folder(folder)
    assert (opened.task, opened.num_classes, opened.input_shape) == (
        "segmentation", CLASSES, (1, 3, 64, 64)
    )  # fmt: skip
    assert [n["id"] for n in opened.labels] == [f"class {i}" for i in range(CLASSES)]
    assert not any(m.training for m in opened.module.modules())
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    processor = getattr(library, f"{NETWORKS[name][1]}ImageProcessorPil").from_pretrained(folder)
    theirs = logits(network, processor(image, return_tensors="pt")["pixel_values"])
    with torch.no_grad():
        ours = opened.module(torch.from_numpy(opened.preprocess(image)[None]))
    assert isinstance(ours, torch.Tensor) and ours.shape == theirs.shape
    assert float(theirs.std(dim=(2, 3)).max()) > 1e-3
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_form_is_whole_and_computes_the_same(saved, name):
    opened = open_folder(saved[name][0])
    canonical = canonical_form(opened.module, opened.preprocess.shape)
    assert canonical.left == ()
    x = torch.randn(opened.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = opened.module(x), canonical.form(XNNPACK_FORM)(x)
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


def test_a_stretched_image_is_seen_whole_at_any_size(saved):
    folder, network = saved["Segformer"]
    own = Preprocess(64, 1.0, "bilinear", fit="stretch")
    assert open_folder(folder).preprocess == own
    opened = open_folder(folder, Asked(size=(96, 160)))
    assert opened.preprocess == Preprocess((96, 160), 1.0, "bilinear", fit="stretch")
    x = torch.randn(opened.input_shape)
    assert torch.equal(logits(opened.module, x), logits(network, x))


def test_without_a_processor_an_image_is_seen_whole(folder):
    (folder / PROCESSOR).unlink()
    opened = open_folder(folder, Asked(size=64, mean=(0.0,) * 3, std=(1.0,) * 3))
    seen = opened.preprocess
    assert (seen.fit, seen.crop_fraction) == ("stretch", 1.0)
    assert opened.notes == (
        "assumed, as nothing is said: crop_fraction 1.0, interpolation bicubic, fit stretch",
    )
    cropped = Asked(size=64, mean=(0.0,) * 3, std=(1.0,) * 3, fit="crop")
    assert open_folder(folder, cropped).preprocess.crop_fraction == 0.9


def test_a_processor_as_older_versions_wrote_it(folder):
    """`size` a number, `reduce_labels` for what is called `do_reduce_labels` since."""
    older = {"feature_extractor_type": "SegformerFeatureExtractor", "size": 96, "resample": 2,
             "do_resize": True, "do_normalize": True, "reduce_labels": True,
             "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}  # fmt: skip
    (folder / PROCESSOR).write_text(json.dumps(older))
    opened = open_folder(folder)
    assert opened.preprocess == Preprocess(96, 1.0, "bilinear", fit="stretch")
    assert len(opened.notes) == 1


def test_where_classes_begin_in_files_of_labels_is_told(folder):
    (note,) = open_folder(folder).notes
    assert "files of labels with classes from 1, 0 for none of them" in note
    edit(folder / PROCESSOR, lambda values: values.update(do_reduce_labels=False))
    assert open_folder(folder).notes == ()


@pytest.mark.parametrize("count", [1, 255])
def test_numbers_of_classes_that_no_map_holds_are_refused(library, count, tmp_path):  # noqa: F811
    network = library.SegformerForSemanticSegmentation(
        library.SegformerConfig(**TINY, num_labels=count)
    )
    save(library, network, "Segformer", {"size": SQUARE}, tmp_path / "net")
    line = f"has {count} outputs; segmentation takes a whole number from 2 to 254 classes"
    assert line in refused(open_folder, tmp_path / "net")


@pytest.mark.parametrize(
    "kind,named,line",
    [
        ("segformer", "SegformerModel", "holds a SegformerModel; taken for classification and "
         "segmentation: SegformerForImageClassification or SegformerForSemanticSegmentation"),
        ("mask2former", "Mask2FormerForUniversalSegmentation", "which gives masks and a class for "
         "each, not classes for each pixel; taken for classification and segmentation: none of"),
        ("maskformer", "MaskFormerForInstanceSegmentation", "gives masks and a class for each"),
        ("detr", "DetrForSegmentation", "gives masks and a class for each"),
    ],
)  # fmt: skip
def test_other_answers_are_refused(folder, kind, named, line):
    values = {"model_type": kind, "architectures": [named]}
    edit(folder / CONFIG, lambda old: old.update(values))
    assert line in refused(open_folder, folder)
