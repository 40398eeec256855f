"""A tiny bundle, its images, and this machine's answers, for the harness' tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilemod.data.imagefolder import ImageFolder, load_pixels, read_folder
from mobilemod.harness.drivers.host import HostDriver
from mobilemod.harness.protocol.job import LatencyPlan
from mobilemod.harness.record.host_side import HostAnswers
from mobilemod.harness.run.job_build import Built, Plan, build_job
from mobilemod.harness.worker.runtimes import load_tflite
from mobilemod.manifest import Bundle, load_bundle
from tests.tiny_bundle import IDS, make_bundle

# Names that a shell, a path or an encoder would trip over.
NAMES = (
    "a b.png", "it's.png", 'quo"te.png', "$(touch pwned).png", "; rm -rf ~.png", "-rf.png",
    "貓 🐈.png", "`id`&|<>.png", "per%cent.png", "back\\slash.png",
)  # fmt: skip
IMAGES = 20
PLAN = Plan(latency=LatencyPlan(0, 16, 70, 0, 1))


class Host:
    """This machine on the same images: the float file stands for the float network."""

    def __init__(self, bundle: Bundle, images: ImageFolder | None):
        self.bundle, self.images = bundle, images

    def answers(self, files: Sequence[str]) -> HostAnswers:
        assert self.images is not None
        preprocess = self.bundle.preprocess
        samples = self.images.samples
        x = preprocess.normalize(np.stack([load_pixels(s.path, preprocess) for s in samples]))
        names = tuple(self.images.name(i) for i in range(len(samples)))
        return HostAnswers(
            names, self.run("tiny_float32.tflite", x), {f: self.run(f, x) for f in files}
        )

    def parts_at(self, file: str, delegate: str, x: np.ndarray) -> str | None:
        """A network of no modules has no tensors that could be named."""
        return None

    def run(self, file: str, x: np.ndarray) -> np.ndarray:
        loaded = load_tflite(self.bundle.folder / file)
        return np.stack([loaded.infer(loaded.prepare(image[None])) for image in x])


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture
def tiny(tiny_source, tmp_path) -> Path:
    """A copy of the bundle that a test may write into."""
    import shutil

    return Path(shutil.copytree(tiny_source, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> ImageFolder:
    """20 drawn images of several sizes in the bundle's ten classes, with hostile names."""
    root = tmp_path_factory.mktemp("images") / "val"
    rng = np.random.default_rng(1)
    for n, wnid in enumerate(IDS):
        (root / wnid).mkdir(parents=True)
        for k in range(IMAGES // len(IDS)):
            coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize(
                (40 + 3 * n, 50 - 2 * n), Image.Resampling.BILINEAR
            )
            image.save(root / wnid / (NAMES[n] if k == 0 else f"{k}.png"))
    return read_folder(root, IDS)


@pytest.fixture
def built(tiny, images, tmp_path) -> Built:
    """A job of all images, with latency in turns."""
    return build_job(load_bundle(tiny), images, HostDriver(), PLAN, tmp_path / "job")
