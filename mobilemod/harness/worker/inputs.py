"""What a job feeds: golden images, inputs, and what is timed."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from mobilemod.data.image_file import read_image
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.harness.protocol.job_folder import JobFolder

GREY = 128


class Feed:
    """A job's images as pixels, uint8 (H, W, 3), and as the network's input, float32 (1, 3, H, W).

    Raises `UserError` where the manifest holds no preprocessing.
    """

    def __init__(self, folder: JobFolder):
        self.folder, self.job = folder, folder.job
        self.preprocess = _preprocess(folder)
        self._packed: np.ndarray | None = None
        if self.job.inputs.kind == "pixels":
            path = folder.path(self.job.inputs.path or "")
            self._packed = np.memmap(path, np.uint8, "r", shape=self.job.inputs.shape)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """The network's input of pixels."""
        return self.preprocess.normalize(pixels[None])

    def image(self, number: int) -> np.ndarray:
        """Pixels of an input. Raises `DamagedImage`."""
        if self._packed is not None:
            return np.asarray(self._packed[number])
        return read_image(
            self.folder.path(self.job.inputs.items[number].path or ""), self.preprocess.pixels
        )

    def golden(self, number: int) -> dict[str, np.ndarray]:
        """Pixels of a golden image by `source`: as they are, and through the preprocessing."""
        image = Image.open(self.folder.path(self.job.golden[number].path))
        image.load()
        return {"pixels": np.asarray(image.convert("RGB")), "image": self.preprocess.pixels(image)}

    def timed(self) -> np.ndarray:
        """The input that is timed: the first golden image as it is, else grey."""
        if self.job.golden:
            return self.normalize(self.golden(0)["pixels"])
        return self.normalize(np.full((*self.preprocess.sides, 3), GREY, np.uint8))


def _preprocess(folder: JobFolder) -> Preprocess:
    path = folder.path(folder.job.manifest.path)
    try:
        return Preprocess.from_dict(json.loads(path.read_text("utf-8"))["preprocess"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} holds no preprocessing ({type(error).__name__})") from None
