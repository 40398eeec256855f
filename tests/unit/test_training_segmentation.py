"""`train` for maps of classes: labels follow their image, what is ignored, backbone, a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from export.verbs.main import main
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.networks import checkpoints
from mobilemod.networks.checkpoints import (
    bundled_checkpoint,
    create_model,
    load_checkpoint,
    save_checkpoint,
)
from mobilemod.networks.registry import build
from mobilemod.tasks.segmentation import TASK
from mobilemod.training.config import Phase
from mobilemod.training.learners.segmentation.backbone import settle, take_weights
from mobilemod.training.learners.segmentation.crops import PADDING, crop_of_both
from mobilemod.training.learners.segmentation.learner import (
    LEARNER,
    SegmentationConfig,
    cross_entropy,
)
from mobilemod.training.run import make_config
from mobilemod.training.train import Trainer

NETWORK = "efficientmod_xxs_fpn"
IGNORED = 255
# A code's colour: what a crop shows tells what its labels have to be.
COLOURS = np.array([(250, 20, 20), (20, 250, 20), (20, 20, 250)], np.uint8)
TINY = SegmentationConfig(
    num_classes=3,
    phases=(Phase(32, 2),),
    batch_size=4,
    size=64,
    warmup_epochs=0.25,
    precision="fp32",
)
UNLIT = replace(TINY, color_jitter=0.0, most_of_one=1.0)


def painted(seed: int, height: int = 48, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """An image of three codes, each in its colour, and these."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((height, width), np.uint8)
    for code in (1, 2):
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        codes[top : top + height // 2, left : left + width // 2] = code
    return COLOURS[codes], codes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    for split, count in (("train", 8), ("val", 3)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            pixels, codes = painted(i + 100 * (split == "val"))
            codes[:2] = IGNORED
            Image.fromarray(pixels).save(root / split / "images" / f"{i}.png")
            Image.fromarray(codes).save(root / split / "labels" / f"{i}.png")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    return root


@pytest.fixture
def data(made, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(made, tmp_path / "data")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def trained(data, out, config=TINY):
    sets = LEARNER.read(data)
    trainer = Trainer(config, sets.train, sets.val, out, "cpu")
    resumed = trainer.resume()
    trainer.fit()
    return trainer, resumed


# -- augmentation


@pytest.mark.parametrize("scale", [(0.5, 0.6), (1.0, 1.0), (1.5, 2.5)])
def test_labels_follow_their_image(scale):
    pixels, codes = painted(1)
    seen = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        crop, labels = crop_of_both(pixels, codes, 64, replace(UNLIT, scale=scale), rng)
        assert crop.shape == (64, 64, 3) and labels.shape == (64, 64)
        assert crop.dtype == labels.dtype == np.uint8
        known = labels != IGNORED
        assert np.array_equal(known, (crop != PADDING).any(axis=2))
        assert known.all() == (scale[0] >= 1)
        # Bilinear mixes the colours of two codes within a pixel or two of an edge.
        pure = np.abs(crop[known].astype(int) - COLOURS[labels[known]]).max(axis=1) < 20
        assert pure.mean() > 0.85
        exact = crop[known][pure]
        assert np.array_equal(exact.argmax(axis=1), labels[known][pure])
        seen.add(labels.tobytes())
    assert len(seen) > 10


def test_half_of_the_crops_are_mirrored():
    codes = np.zeros((32, 32), np.uint8)
    codes[:, 16:] = 1
    how = replace(UNLIT, scale=(1.0, 1.0))
    rng = np.random.default_rng(0)
    firsts = [int(crop_of_both(COLOURS[codes], codes, 32, how, rng)[1][0, 0]) for _ in range(100)]
    assert 30 < sum(firsts) < 70


def test_the_light_changes_pixels_alone():
    pixels, codes = painted(2)
    a, same = crop_of_both(pixels, codes, 48, UNLIT, np.random.default_rng(3))
    b, also = crop_of_both(
        pixels, codes, 48, replace(UNLIT, color_jitter=0.3), np.random.default_rng(3)
    )
    # The jitter draws before the flip.
    assert np.array_equal(same, also) or np.array_equal(same, also[:, ::-1])
    assert not np.array_equal(a, b) and not np.array_equal(a, b[:, ::-1])


def test_a_crop_of_one_class_is_drawn_again():
    codes = np.zeros((64, 64), np.uint8)
    codes[:, 56:] = 1
    shares = {}
    for most in (1.0, 0.75):
        how = replace(UNLIT, scale=(4.0, 4.0), most_of_one=most)
        crops = [
            crop_of_both(COLOURS[codes], codes, 32, how, np.random.default_rng(i))[1]
            for i in range(60)
        ]
        shares[most] = np.mean([np.bincount(c.ravel()).max() > 0.75 * c.size for c in crops])
    assert shares[0.75] < shares[1.0] / 1.5


# -- loss


def test_ignored_pixels_have_no_gradient():
    outputs = torch.randn(2, 3, 8, 8, requires_grad=True)
    codes = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8)
    codes[0, :4], codes[1] = IGNORED, IGNORED
    loss = cross_entropy(outputs, codes)
    loss.backward()
    known = codes != IGNORED
    gradient = outputs.grad.abs().sum(dim=1)
    assert not gradient[~known].any() and gradient[known].all()
    expected = torch.nn.functional.cross_entropy(outputs[:1, :, 4:], codes[:1, 4:].long())
    assert loss.item() == pytest.approx(expected.item())


def test_a_batch_without_labels_has_no_loss():
    outputs = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(outputs, torch.full((1, 16, 16), IGNORED, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0 and not outputs.grad.any()


# -- what it starts from


def noise():
    return torch.randn(1, 3, 64, 64)


def test_the_backbone_is_the_classifiers(capsys):
    model = build(NETWORK, 3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    said = take_weights(model, noise, None)
    path = bundled_checkpoint("efficientmod_xxs")
    weights = load_checkpoint(path).state
    for name, value in model.state_dict().items():
        classifier = name.removeprefix("backbone.")
        expected = weights[classifier] if classifier != name else before[name]
        if "lateral" in name and name.endswith("weight"):  # balanced
            expected = expected * (value.flatten()[0] / expected.flatten()[0])
            assert torch.allclose(value, expected, rtol=1e-5), name
        else:
            assert torch.equal(value, expected), name
    assert path.name in said
    line = capsys.readouterr().err
    assert "205 of 209 tensors" in line and line.count("\n") == 1
    assert "head.bias, head.weight, norm.bias, norm.weight" in line


def test_a_backbone_that_is_not_bundled_is_not_taken(capsys):
    assert take_weights(build("efficientmod_xs_fpn", 3), noise, None) == "from scratch"
    assert "none of efficientmod_xs is bundled" in capsys.readouterr().err


def test_a_backbone_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "part.safetensors"
    state = load_checkpoint(bundled_checkpoint("efficientmod_xxs")).state
    del state["patch_embed.proj.weight"]
    save_checkpoint(path, state, {"model": "efficientmod_xxs", "num_classes": "10"})
    with pytest.raises(UserError, match="patch_embed.proj.weight"):
        take_weights(build(NETWORK, 3), noise, path)


def test_a_checkpoint_is_read_once(tmp_path, monkeypatch):
    reads, read = [], checkpoints.read_checkpoint
    monkeypatch.setattr(checkpoints, "read_checkpoint", lambda p: reads.append(p) or read(p))
    own = tmp_path / "own.safetensors"
    told = {"model": NETWORK, "num_classes": "3"}
    save_checkpoint(own, build(NETWORK, 3).state_dict(), told)
    classifier = bundled_checkpoint("efficientmod_xxs")
    for path in (own, classifier, None):
        take_weights(build(NETWORK, 3), noise, path)
    assert reads == [own, classifier, classifier]


def test_a_network_goes_on_from_its_own_weights(tmp_path, capsys):
    torch.manual_seed(1)
    path, before = tmp_path / "own.safetensors", build(NETWORK, 3).state_dict()
    save_checkpoint(path, before, {"model": NETWORK, "num_classes": "3"}, torch.float32)
    model = build(NETWORK, 3)
    assert path.name in take_weights(model, noise, path)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert f"start: all weights of {path}" in capsys.readouterr().err
    with pytest.raises(UserError, match="its head has 3"):
        take_weights(build(NETWORK, 4), noise, path)


def test_all_levels_begin_as_large():
    torch.manual_seed(0)
    model = build(NETWORK, 3)
    x = torch.randn(2, 3, 64, 64)
    take_weights(model, lambda: x, None)
    with torch.no_grad():
        maps = model.backbone(x)
        sizes = [
            lateral(one).std() for lateral, one in zip(model.neck.lateral_convs, maps, strict=True)
        ]
    before = [one.std() for one in maps]
    assert max(before) / min(before) > 10 and max(sizes) / min(sizes) < 3


def test_what_is_kept_fits_float16_and_gives_the_same():
    torch.manual_seed(0)
    model = build(NETWORK, 3).eval()
    for level, unit in enumerate(u[0] for u in model.decode_head.scale_heads):
        # As large as training leaves it.
        model.neck.fpn_convs[level].conv.weight.data.mul_(1e4)
        unit.bn.running_mean.normal_(0, 1e3)
        unit.bn.running_var.uniform_(1e6, 1e8)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
        settle(model)
        after = model(x)
    assert (after - before).abs().max() < 1e-3 * before.abs().max()
    assert all(value.abs().max() < 1e4 for value in model.state_dict().values())


# -- runs


def test_a_stopped_run_goes_on_to_the_same_weights(made, tmp_path, monkeypatch):
    whole, _ = trained(made, tmp_path / "whole")
    save = Trainer.save

    def stop(self):
        save(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "save", stop)
        trained(made, tmp_path / "cut")
    rest, resumed = trained(made, tmp_path / "cut")
    assert resumed and [h["epoch"] for h in rest.history] == [1, 2]
    assert rest.history == whole.history
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(value, rest.ema.state_dict()[name]), name


def test_a_run_learns(made, tmp_path):
    trainer, _ = trained(made, tmp_path, replace(TINY, phases=(Phase(32, 6),), lr=2e-3))
    first, last = trainer.history[0], trainer.history[-1]
    assert last["loss"] < first["loss"] / 1.5
    assert {"measured_size", "selected_mean_iou"} < last.keys()


def test_the_verb_leaves_checkpoint_card_and_curve(made, tmp_path, capsys):
    out = tmp_path / "run"
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({k: v for k, v in asdict(TINY).items() if k != "phases"}))
    arguments = ["train", "--data", str(made), "--config", str(recipe), "--out", str(out),
                 "--phases", "32:1", "--threads", "1", "--json", "-"]  # fmt: skip
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    path = out / f"{NETWORK}.safetensors"
    loaded = load_checkpoint(path)
    assert (loaded.variant, loaded.num_classes, loaded.sha256) == (NETWORK, 3, record["sha256"])
    assert json.loads(loaded.metadata["labels"]) == ["red", "green", "blue"]
    assert record["task"] == "segmentation" and record["size"] == 64
    assert (
        record["images"] == {"train": 7, "selected": 1, "val": 3}
        and "efficientmod_xxs" in record["from"]
    )
    # What the record says is what the task says of the checkpoint.
    preprocess = Preprocess(64, 1.0, "bilinear", fit="stretch")
    images = TASK.read(made, "val", ["red", "green", "blue"], 3)
    model = create_model(NETWORK, 3, path, 64)
    pixels = np.stack([images.pixels(i, preprocess) for i in range(3)])
    with torch.no_grad():
        outputs = model(torch.from_numpy(preprocess.normalize(pixels))).numpy()
    expected = TASK.figures(outputs, TASK.targets(images, range(3), preprocess))
    for key, value in expected.items():
        assert record[key] == pytest.approx(value, abs=0.2)
    card = (out / f"{NETWORK}.md").read_text()
    assert (
        f"mIoU at 64 pixels on 3 validation images:\n**{record['mean_iou_percent']:.2f} %" in card
    )
    with Image.open(out / "curve.png") as picture:
        assert picture.width > 400


# -- what can't be trained


def refusal(capsys, data, *more) -> str:
    """What the verb says of it, in one line."""
    arguments = ["train", "--model", NETWORK, "--data", str(data), "--out", str(data / "run")]
    assert main([*arguments, "--threads", "1", *more]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("start:")]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_folder_without_names_of_classes(data, capsys):
    (data / "classes.txt").unlink()
    assert "no classes.txt in" in refusal(capsys, data)


def test_an_image_without_labels(data, capsys):
    (data / "train" / "labels" / "3.png").unlink()
    line = refusal(capsys, data)
    assert "images/3.png" in line and "has no labels" in line


def test_a_folder_without_images(data, capsys):
    shutil.rmtree(data / "train" / "images")
    (data / "train" / "images").mkdir()
    shutil.rmtree(data / "train" / "labels")
    (data / "train" / "labels").mkdir()
    assert "holds no images" in refusal(capsys, data)


def test_a_code_out_of_range(data, capsys):
    path = data / "train" / "labels" / "5.png"
    Image.fromarray(np.full((48, 80), 7, np.uint8)).save(path)
    line = refusal(capsys, data, "--phases", "32:1", "--batch-size", "7")
    assert "labels/5.png" in line and "classes are 0 to 2" in line


def test_an_image_that_is_cut_off(data, capsys):
    path = data / "train" / "images" / "5.png"
    path.write_bytes(path.read_bytes()[:-40])
    line = refusal(capsys, data, "--phases", "32:1", "--batch-size", "7")
    assert "images/5.png" in line and "take the image and its labels out" in line


@pytest.mark.parametrize(
    "recipe,expected",
    [
        ({"scales": [1, 2]}, "'scales'"),
        ({"mixup": 0.2}, "'mixup'"),
        ({"phases": [{"sise": 32, "epochs": 1}]}, "phase"),
        ({"size": 100}, "image size 100"),
        ({"phases": [{"size": 100, "epochs": 1}]}, "image size 100"),
    ],
)
def test_a_recipe_that_can_not_be(data, capsys, recipe, expected):
    file = data / "recipe.json"
    file.write_text(json.dumps(recipe))
    assert expected in refusal(capsys, data, "--config", str(file))


def test_maps_have_no_teacher():
    with pytest.raises(UserError, match="--teacher is not for efficientmod_xxs_fpn"):
        make_config(None, {"model": NETWORK, "teacher": "some.safetensors"})


def test_the_recipe_is_the_tasks():
    assert make_config(None, {"model": NETWORK}, 3) == SegmentationConfig(num_classes=3)
    assert asdict(make_config(None, {}, 10)).keys() >= {"mixup", "crop_scale"}
