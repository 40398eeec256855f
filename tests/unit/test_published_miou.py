"""mIoU by the published test pipeline: sizes, resizing, and the classes at an image's own size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.segmentation import published
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.tasks.segmentation.folder import read_labelled
from mobilemod.tasks.segmentation.scores import mean_iou


@pytest.mark.parametrize(
    ("size", "fitted", "given"),
    [
        ((683, 512), (683, 512), (704, 512)),
        ((512, 512), (512, 512), (512, 512)),
        ((300, 200), (768, 512), (768, 512)),
        ((1000, 800), (640, 512), (640, 512)),
        ((3000, 300), (2048, 205), (2048, 224)),  # the longer side decides
        ((333, 500), (512, 769), (512, 800)),
    ],
)
def test_an_image_fits_and_then_takes_multiples_of_32(size, fitted, given):
    assert published.input_sizes(*size) == (fitted, given)


def test_it_is_resized_by_pixel_centres_without_averaging():
    """By hand: 4 pixels to 2 take the means of the middle ones' neighbours."""
    row = np.array([0, 100, 200, 40], np.uint8)
    pixels = np.repeat(np.repeat(row[None, :, None], 4, axis=0), 3, axis=2)
    assert published.resized(pixels, (2, 4))[0, :, 0].tolist() == [50, 120]
    assert published.resized(pixels, (8, 4))[0, :, 0].tolist() == [0, 25, 75, 125, 175, 160, 80, 40]


@pytest.mark.parametrize("classes", [3, 8, 21])
def test_the_best_class_is_that_of_all_at_once(classes):
    torch.manual_seed(0)
    logits = torch.randn(1, classes, 5, 7).round()  # ties among them
    sizes = [(20, 28), (33, 17)]
    whole = logits
    for size in sizes:
        whole = F.interpolate(whole, size=size, mode="bilinear", align_corners=False)
    assert (published.best_classes(logits, sizes) == whole[0].argmax(0).numpy()).all()


class Reds(torch.nn.Module):
    """Class 1 where an image is more red than 128, class 0 elsewhere; maps of a quarter."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = F.avg_pool2d(x[:, :1], 4) * 0.229 + 0.485 - 128 / 255
        return torch.cat([-red, red], 1)


def scenes(folder, sizes):
    """Images of two halves, labelled, in ADE20K's layout."""
    for i, (width, height) in enumerate(sizes):
        labels = np.ones((height, width), np.uint8)
        labels[:, width // 2 :] = 2
        pixels = np.stack([np.where(labels == 2, 220, 30)] * 3, axis=-1).astype(np.uint8)
        for part, values in (("images", pixels), ("annotations", labels)):
            (folder / part / "validation").mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / part / "validation" / f"{i}.png")
    return folder


def test_images_count_at_their_own_size(tmp_path):
    folder = read_labelled(scenes(tmp_path, [(60, 40), (130, 64)]), "val", True, 2)
    found = published.measure(Reds(), folder, Preprocess())
    assert found.shape == (2, 2, 255)
    # The union of both classes is each image's pixels, and the few that are wrong twice.
    pixels = [60 * 40, 130 * 64]
    wrong = found[:, 1].sum(1) - pixels
    assert (found[:, 0].sum(1) + wrong == pixels).all() and (wrong <= [40, 2 * 64]).all()
    assert mean_iou(found.sum(0)) > 96


def test_what_is_no_network_of_maps_is_refused(tmp_path):
    from mobilemod.networks.checkpoints import save_checkpoint
    from mobilemod.networks.registry import build

    path = tmp_path / "a.safetensors"
    save_checkpoint(path, build("efficientmod_xxs", 3).state_dict(), {"num_classes": "3"})
    argv = ["--model", "efficientmod_xxs", "--checkpoint", str(path), "--data", str(tmp_path)]
    with pytest.raises(UserError, match="gives no maps"):
        published.run_command(published.parse(argv))
