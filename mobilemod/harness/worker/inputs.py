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

    map: height and width of the maps that the files make; None where they make none. Raises
    `UserError` where the manifest holds no preprocessing, or a map of no size.
    """

    def __init__(self, folder: JobFolder):
        self.folder, self.job = folder, folder.job
        self.preprocess, self.map = _of_manifest(folder)
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


def _of_manifest(folder: JobFolder) -> tuple[Preprocess, tuple[int, int] | None]:
    path = folder.path(folder.job.manifest.path)
    try:
        values = json.loads(path.read_text("utf-8"))
        preprocess, size = Preprocess.from_dict(values["preprocess"]), values.get("map")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} holds no preprocessing ({type(error).__name__})") from None
    if size is None:
        return preprocess, None
    if not isinstance(size, list) or [type(side) for side in size] != [int, int] or min(size) < 1:
        raise UserError(f"{path}: map is {size!r:.60}, expected its height and width")
    return preprocess, (size[0], size[1])
