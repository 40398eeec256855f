"""mIoU as papers give it: whole images at their own size, in PyTorch, one scale, no flip.

python -m benchmarks.segmentation.published --model NAME --checkpoint FILE --data ADE20K

A phone's file has one size of input and a quarter of it for its map, so `mobilemod validate`
measures something else; this tells whether a checkpoint is what its paper says.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn

from benchmarks.reports.command import command
from mobilemod.data.dataset import MEASURED
from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.preprocess import Preprocess
from mobilemod.data.rgb import to_rgb
from mobilemod.errors import UserError, shown
from mobilemod.networks.checkpoints import load_checkpoint
from mobilemod.networks.registry import family_of, network, preprocess_of
from mobilemod.progress import progress
from mobilemod.tasks import get_task
from mobilemod.tasks.segmentation.folder import LabelledFolder, read_labelled
from mobilemod.tasks.segmentation.scores import counts, mean_iou

LONG, SHORT, MULTIPLE = 2048, 512, 32
CLASSES_AT_ONCE = 8  # whose logits are held at an image's own size


def input_sizes(width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of an image as it fits in 2048 x 512, and of the network's input: the next
    multiples of 32.

    Source: MMSegmentation 0.19's test pipeline with ratios kept, sides rounded to the nearest.
    """
    scale = min(LONG / max(width, height), SHORT / min(width, height))
    first = int(width * scale + 0.5), int(height * scale + 0.5)
    return first, tuple(math.ceil(side / MULTIPLE) * MULTIPLE for side in first)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) at `size` (width, height): bilinear by pixel centres, without averaging where
    it shrinks, as OpenCV's, whose values may differ by one where it rounds its own weights."""
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    x = F.interpolate(x, size=size[::-1], mode="bilinear", align_corners=False)
    return (x + 0.5).floor().clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()


@torch.no_grad()
def predicted(model: nn.Module, pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """uint8 (H, W): the classes of an image, uint8 (H, W, 3), at its own size.

    preprocess: its mean and standard deviation normalize.
    """
    height, width = pixels.shape[:2]
    for size in input_sizes(width, height):
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = resized(pixels, size)
    logits = model(torch.from_numpy(preprocess.normalize(pixels[None])))
    return best_classes(logits, [pixels.shape[:2], (height, width)])


def best_classes(logits: Tensor, sizes: list[tuple[int, int]]) -> np.ndarray:
    """uint8 (H, W): the largest class of (1, K, h, w), resized bilinearly to each (height, width)
    in turn; of equals the lower one.

    Some classes at a time: all at an image's own size may take gigabytes.
    """
    best = found = None
    for begin in range(0, logits.shape[1], CLASSES_AT_ONCE):
        part = logits[:, begin : begin + CLASSES_AT_ONCE]
        for size in sizes:
            part = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        values, classes = part[0].max(dim=0)
        if best is None:
            best, found = values, classes
            continue
        higher = values > best
        best, found = torch.where(higher, values, best), torch.where(higher, classes + begin, found)
    return found.byte().numpy()


def measure(model: nn.Module, folder: LabelledFolder, preprocess: Preprocess) -> np.ndarray:
    """int32 (N, 2, 255): `counts` of each image at its own size.

    `UserError` for an image or labels that can't be read, naming the file.
    """
    found = []
    for i, sample in progress(enumerate(folder.samples), "images", len(folder.samples), "img"):
        try:
            pixels = read_image(sample.path, _upright)
            truth = folder.codes(i)
        except DamagedImage as error:
            raise UserError(f"{shown(sample.path)}: {error}; mend it, or take it out") from None
        found.append(counts(predicted(model, pixels, preprocess)[None], truth[None])[0])
    return np.array(found)


def _upright(image: Image.Image) -> np.ndarray:
    return np.array(to_rgb(ImageOps.exif_transpose(image)))


def run_command(args: argparse.Namespace) -> None:
    """Measure and print."""
    if args.data is None:
        raise UserError("no images: give --data DIR, or set MOBILEMOD_DATA")
    torch.set_num_threads(args.threads)
    loaded = load_checkpoint(args.checkpoint, args.model)
    model = network(args.model, loaded.num_classes, loaded.state)
    if not get_task(family_of(args.model).task).maps:
        raise UserError(f"{args.model} gives no maps; give --model of a network for segmentation")
    folder = read_labelled(args.data, MEASURED, True, loaded.num_classes)
    if args.limit is not None:
        folder = folder.spread(args.limit)
    found = measure(model, folder, preprocess_of(model))
    whole = found.sum(axis=0, dtype=np.int64)
    classes = int((whole[1] > 0).sum())
    print(f"{args.model}: mIoU {mean_iou(whole):.2f} % over {classes} classes of "
          f"{loaded.num_classes}, {len(found)} images at their own size")  # fmt: skip


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", required=True, help="a network for segmentation, by name")
    parser.add_argument("--checkpoint", type=Path, required=True, help="its weights")
    parser.add_argument("--data", type=Path, default=os.environ.get("MOBILEMOD_DATA"),
                        help="images and labels, ADE20K's layout or train/ and val/")  # fmt: skip
    parser.add_argument("--limit", type=int, help="as many images, spread over all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(command(run_command, parse))
