"""Networks that aren't ours through the command line: files that are int8 and answer alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from export.quiet import quiet
from export.targets.target import target_of_file
from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.evaluation.runs import to_runs
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.networks.synthetic import trained_like
from quantization.recipe import load_recipe
from tests.commands import ROOT
from tests.foreign import CLASSES, NETWORKS, SEGFORMER, SIZE, save

STRETCHED = Preprocess((SIZE, 96), 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3, fit="stretch")
# A network of rectangles.
MODULE = """
from torch import nn

class Tiny(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.ReLU(),
            nn.Conv2d(16, 32, (3, 5), 2, (1, 2)), nn.ReLU(), nn.AvgPool2d((12, 20)), nn.Flatten(),
            nn.Linear(32, 10),
        )
"""


@pytest.fixture(params=["ConvNextV2", pytest.param("ViT", marks=pytest.mark.long)])
def folder(request, tmp_path):
    """A network of a trained one's spread, whose two outputs nothing names, as it is saved."""
    return save(tmp_path / "tiny", f"{request.param}ForImageClassification",
                *NETWORKS[request.param])  # fmt: skip


@pytest.fixture
def labelled(data_dir, tmp_path):
    """Photographs with labels of `CLASSES` classes in squares, in the plain layout."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (tmp_path / "data" / split / part).mkdir(parents=True)
        for path in sorted((data_dir / split).glob("*/*"))[::60][:32]:
            (tmp_path / "data" / split / "images" / path.name).symlink_to(path)
            width, height = Image.open(path).size
            codes = rng.integers(0, CLASSES, (height // 50 + 1, width // 50 + 1), dtype=np.uint8)
            labels = codes.repeat(50, 0).repeat(50, 1)[:height, :width]
            Image.fromarray(labels).save(tmp_path / "data" / split / "labels" / f"{path.stem}.png")
    return tmp_path / "data"


def exported(export, what: str, data_dir, tmp_path, *options: str, **more: str) -> Bundle:
    """The bundle of a network, whose files answer its golden images as the network does."""
    recipe, out = (tmp_path / name for name in ("recipe.json", "out"))
    recipe.write_text(json.dumps(load_recipe("cpu").to_dict() | {"calibration_images": 32}))
    export(out, "--network", what, "--data", data_dir, "--recipe", recipe, *options, **more)
    bundle = load_bundle(out)
    golden = bundle.manifest.golden
    assert len(golden) > 1
    reference = np.array([image.logits["reference"] for image in golden])
    for file in bundle.manifest.files:
        own = np.array([image.logits[file.file] for image in golden])
        if file.precision == "int8":
            assert file.audit.int8_share >= 0.99
            assert sqnr_db(reference, own) >= 20  # over all images: an output or two say little
        elif file.precision == "float32":
            assert np.abs(own - reference).max() <= 1e-4 * np.abs(reference).max()
        else:
            assert sqnr_db(reference, own) >= 40
    return bundle


def of_golden(bundle: Bundle, network) -> None:
    """The network's own answers to the golden images are those of the manifest."""
    for image in bundle.manifest.golden:
        pixels = np.asarray(Image.open(bundle.file(image.image)))
        assert pixels.shape == (*bundle.preprocess.sides, 3)
        with torch.no_grad():
            output = network(torch.from_numpy(bundle.preprocess.normalize(pixels[None])))
        own = getattr(output, "logits", output)[0].numpy()
        assert np.allclose(own, image.logits["reference"], atol=1e-4)


@pytest.mark.slow
def test_a_folder_becomes_files_that_answer_as_its_network_does(folder, export, data_dir, tmp_path):
    bundle = exported(
        export, f"hf:{folder}", data_dir, tmp_path, "--targets", "executorch,tflite"
    )  # fmt: skip
    assert len(bundle.manifest.files) == 4
    assert all(image.target is None for image in bundle.manifest.golden)
    with quiet():
        import transformers

        network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    of_golden(bundle, network)
    if "vit" in type(network).__name__.lower():
        assert bundle.preprocess == STRETCHED


@pytest.mark.slow
def test_a_folder_of_maps_becomes_files_that_answer_as_its_network_does(export, labelled, tmp_path):
    folder = save(tmp_path / "tiny", "SegformerForSemanticSegmentation", *SEGFORMER)
    recipe, out = tmp_path / "recipe.json", tmp_path / "out"
    recipe.write_text(json.dumps(load_recipe("cpu").to_dict() | {"calibration_images": 32}))
    export(out, "--network", f"hf:{folder}", "--data", labelled, "--recipe", recipe,
           "--targets", "executorch,tflite")  # fmt: skip
    bundle = load_bundle(out)
    assert bundle.task.name == "segmentation" and bundle.manifest.map == [16, 24]
    with quiet():
        import transformers

        network = transformers.AutoModelForSemanticSegmentation.from_pretrained(folder).eval()
    assert len(bundle.manifest.files) == 4 and len(bundle.manifest.golden) > 1
    for file in bundle.manifest.files:
        runner = target_of_file(bundle.file(file.file)).load(bundle.file(file.file))
        for golden in bundle.manifest.golden:
            pixels = np.asarray(Image.open(bundle.file(golden.image)))
            x = bundle.preprocess.normalize(pixels[None])
            with torch.no_grad():
                expected = network(torch.from_numpy(x)).logits[0].numpy()
            found = runner.run(x)
            assert golden.runs[file.file] == to_runs(found.argmax(0).astype(np.uint8))
            if file.precision == "int8":
                assert file.audit.int8_share == 1 and sqnr_db(expected, found) >= 15
            else:
                assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_a_rectangle_reaches_every_runtime(export, data_dir, tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    namespace: dict = {}
    exec(MODULE, namespace)
    torch.manual_seed(0)
    network = namespace["Tiny"]().eval()
    network.load_state_dict(trained_like({k: v.shape for k, v in network.state_dict().items()}))
    torch.save(network.state_dict(), tmp_path / "tiny.pt")
    bundle = exported(
        export, "mine:Tiny", data_dir, tmp_path, "--checkpoint", tmp_path / "tiny.pt",
        "--size", "96x160", PYTHONPATH=f"{tmp_path}:{ROOT}",
    )  # fmt: skip
    assert bundle.values["preprocess"]["size"] == [96, 160] and len(bundle.manifest.files) == 6
    of_golden(bundle, network)
