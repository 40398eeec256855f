"""The task `segmentation`: label files, mIoU and its drop, agreement, records and their page."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from export.measure.stress import make_record
from export.measure.validation import Answers
from mobilemod.data.corruptions import Condition
from mobilemod.data.dataset import DataSet
from mobilemod.data.image_file import DamagedImage
from mobilemod.data.imagefolder import load_pixels
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Predictions
from mobilemod.evaluation.runs import ANSWERS, to_runs
from mobilemod.harness.worker.digest import image_answer
from mobilemod.results.gates import Gates, check
from mobilemod.results.report.known import Known
from mobilemod.results.report.page import page
from mobilemod.results.report.pictures import Pictures, read_pictures
from mobilemod.results.schema import build_record
from mobilemod.results.table import text_table
from mobilemod.targets import TARGETS
from mobilemod.tasks import get_task, task_names
from mobilemod.tasks.segmentation import TASK, label_file, maps, picture, scores
from mobilemod.tasks.segmentation.folder import class_names_in

NAMES = ("sky", "tree", "road")
PLAIN = Preprocess(size=(32, 48), crop_fraction=1.0)


def save(path, codes, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(codes, np.uint8)).save(path, **more)


def photograph(path, width=48, height=32, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    save(path, pixels)


def some_codes(seed=0, width=48, height=32, classes=3):
    return np.random.default_rng(seed).integers(0, classes, (height, width)).astype(np.uint8)


@pytest.fixture
def plain(tmp_path):
    for i in range(3):
        photograph(tmp_path / f"val/images/{i}.jpg", seed=i)
        save(tmp_path / f"val/labels/{i}.png", some_codes(i))
    return tmp_path


@pytest.fixture
def ade(tmp_path):
    for split in ("training", "validation"):
        for i in range(2):
            photograph(tmp_path / f"images/{split}/{i}.jpg", seed=i)
            save(tmp_path / f"annotations/{split}/{i}.png", some_codes(i, classes=4))
    return tmp_path


def read(data, split="val", ids=NAMES, outputs=3):
    return TASK.read(data, split, ids, outputs)


def targets_of(data, preprocess=PLAIN, outputs=3):
    images = read(data, outputs=outputs)
    return TASK.targets(images, range(len(images.samples)), preprocess)


# -- data


def test_it_is_a_task():
    assert "segmentation" in task_names() and get_task("segmentation") is TASK


def test_plain_folders_hold_codes(plain):
    images = read(plain)
    assert [images.name(i) for i in range(3)] == ["0.jpg", "1.jpg", "2.jpg"]
    found = TASK.targets(images, [2, 0], PLAIN)
    assert found.dtype == np.uint8 and found.shape == (2, 32, 48)
    assert np.array_equal(found, [some_codes(2), some_codes(0)])
    assert images.subset([1]).samples[0].labels.name == "1.png" and images.split == "val"


def test_ade20k_has_ignored_pixels_as_0(ade):
    found, codes = targets_of(ade), np.stack([some_codes(i, classes=4) for i in range(2)])
    assert np.array_equal(found == 255, codes == 0)
    assert np.array_equal(found[codes > 0], codes[codes > 0] - 1)
    assert read(ade, "train").root.name == "training"
    assert read(DataSet(ade, "training")).split == "training"
    with pytest.raises(UserError, match="images/testing; expected images/validation"):
        read(DataSet(ade, "testing"))


def test_labels_lie_on_what_the_network_sees(tmp_path):
    """Grey images whose brightness is the code: what is seen of either is the same."""
    big = np.kron(some_codes(5, 9, 7), np.ones((16, 16), np.uint8))
    save(tmp_path / "val/images/a.png", np.repeat(big[..., None] * 100, 3, axis=2))
    save(tmp_path / "val/labels/a.png", big)
    for preprocess in (
        Preprocess(64, 0.9, "nearest"),
        Preprocess((48, 96), 0.75, "nearest"),
        Preprocess((48, 96), 1.0, "nearest", fit="stretch"),
    ):
        seen = load_pixels(tmp_path / "val/images/a.png", preprocess)[..., 0] // 100
        assert np.mean(seen == targets_of(tmp_path, preprocess)[0]) > 0.99


@pytest.mark.parametrize("sides", [(48, 96), (96, 48), (65, 64)])
def test_bars_are_ignored(tmp_path, sides):
    """144 x 112 pixels, letterboxed: what is beside them has no class and the mean's colour."""
    big = np.kron(some_codes(5, 9, 7), np.ones((16, 16), np.uint8)) % 3
    save(tmp_path / "val/images/a.png", np.repeat(big[..., None] * 10 + 5, 3, axis=2))
    save(tmp_path / "val/labels/a.png", big)
    preprocess = Preprocess(sides, 1.0, "nearest", fit="letterbox")
    seen = load_pixels(tmp_path / "val/images/a.png", preprocess)
    codes = targets_of(tmp_path, preprocess)[0]
    bars = (seen == (124, 116, 104)).all(-1)
    assert np.array_equal(codes == 255, bars) and codes.shape == sides
    scale = min(sides[0] / 112, sides[1] / 144)
    assert (~bars).sum() == round(144 * scale) * round(112 * scale)
    assert np.mean(seen[~bars][:, 0] // 10 == codes[~bars]) > 0.99
    assert np.abs(preprocess.normalize(seen)[:, bars]).max() < 0.01


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["grey", "paletted"])
def test_codes_of_any_depth_are_read_as_codes(tmp_path, bits, kind):
    codes = some_codes(1, 40, 30, 2**bits)
    path = tmp_path / "a.png"
    if kind == "paletted":
        image = Image.fromarray(codes).convert("L")
        image.putpalette([(7 * i + 90) % 256 for i in range(3 * 2**bits)])
        image.save(path, bits=bits)
    else:
        path.write_bytes(grey_png(codes, bits))
    assert np.array_equal(label_file.read_codes(path, False), codes)
    expected = np.where((codes == 255) | (codes == 0), 255, codes - 1)
    assert np.array_equal(label_file.read_codes(path, True), expected)


def grey_png(codes, bits):
    """A grey PNG of 1, 2, 4, 8 or 16 bits, which Pillow doesn't write at all depths."""
    height, width = codes.shape
    shifts = np.arange(bits - 1, -1, -1)
    rows = (codes[..., None].astype(np.uint32) >> shifts & 1).reshape(height, -1)
    packed = np.packbits(rows.astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_changed_files_are_codes_or_damage(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "a.png"
    for bits in (1, 4, 8, 16):
        good = np.frombuffer(grey_png(some_codes(classes=2), bits), np.uint8)
        for _ in range(100):
            changed = good.copy()
            changed[rng.integers(0, len(good), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(changed[: rng.integers(1, len(good) + 200)].tobytes())
            try:
                found = label_file.read_codes(path, bool(rng.integers(2)))
            except DamagedImage as error:
                assert "\n" not in str(error)
            else:
                assert found.dtype == np.uint8 and found.ndim == 2


def test_deep_greys_are_codes_too(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(grey_png(some_codes(), 16))
    assert np.array_equal(label_file.read_codes(path, False), some_codes())
    path.write_bytes(grey_png(np.full((4, 4), 300), 16))
    with pytest.raises(DamagedImage, match="300; at most 255"):
        label_file.read_codes(path, False)


def test_what_cannot_be_labels_is_told_before_anything_runs(plain):
    path = plain / "val/labels/1.png"
    good = path.read_bytes()

    def refused(expected):
        with pytest.raises(UserError) as error:
            read(plain)
        assert expected in str(error.value) and "\n" not in str(error.value)

    path.unlink()
    refused("1.jpg has no labels in ")
    path.write_bytes(b"")
    refused("1.png: empty; mend it, or take the image and its labels out")
    path.write_bytes(b"nothing of an image")
    refused("1.png: no image; mend")
    photograph(path)
    refused("1.png: colours, not codes (mode RGB")
    Image.fromarray(some_codes()).save(path, "TIFF")
    refused("1.png: no PNG (TIFF")
    save(path, some_codes(width=32, height=48))
    refused("1.png has 32 x 48 pixels, its image 48 x 32")
    for i in range(3):
        save(plain / f"val/labels/{i}.png", some_codes(width=50))
    refused("(3 such files of ")
    path.write_bytes(good)


def test_what_shows_in_the_pixels_is_told_with_the_file(plain):
    images, path = read(plain), plain / "val/labels/1.png"
    save(path, np.full((32, 48), 3))
    with pytest.raises(UserError, match=r"1.png: a code out of range \(3; .* 0 to 2\); mend"):
        TASK.targets(images, [0, 1], PLAIN)
    save(path, some_codes(7, classes=256), compress_level=0)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UserError, match="1.png: cut off; mend"):
        TASK.targets(images, [0, 1], PLAIN)
    path.unlink()
    with pytest.raises(UserError, match="1.png: no such file or directory; mend"):
        TASK.targets(images, [0, 1], PLAIN)
    assert len(TASK.targets(images, [0, 2], PLAIN)) == 2


def test_ade20k_codes_are_told_as_its_files_have_them(ade):
    save(ade / "annotations/validation/1.png", np.full((32, 48), 9))
    with pytest.raises(UserError, match=r"\(9; the network's classes are 1 to 3\)"):
        targets_of(ade)


def test_turned_photographs_have_upright_labels(tmp_path):
    (tmp_path / "val/images").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (32, 48))
    image.save(tmp_path / "val/images/a.jpg", exif=exif)
    save(tmp_path / "val/labels/a.png", some_codes())
    assert targets_of(tmp_path).shape == (1, 32, 48)


def test_folders_below_and_upper_case_names_are_read(tmp_path):
    photograph(tmp_path / "val/images/a/b.c.JPG")
    save(tmp_path / "val/labels/a/b.c.png", some_codes())
    (tmp_path / "val/labels/a/b.c.png").rename(tmp_path / "val/labels/a/b.c.PNG")
    assert np.array_equal(targets_of(tmp_path), [some_codes()])


def test_damaged_images_are_left_to_their_reader(plain):
    (plain / "val/images/0.jpg").write_bytes(b"\xff\xd8\xff cut off")
    assert len(read(plain).samples) == 3


def test_labels_are_only_wanted_where_something_is_measured(plain, capsys):
    (plain / "val/labels/0.png").unlink()
    (plain / "val/labels/readme.txt").write_text("text")
    save(plain / "val/labels/other.png", some_codes())
    images = read(plain, ids=())
    assert len(images.samples) == 3
    assert images.left_out == {".txt": 1, "labels without an image": 1}
    assert "left out: 1 .txt, 1 labels without an image" in capsys.readouterr().err
    with pytest.raises(UserError, match="0.jpg has no labels; give it"):
        TASK.targets(images, [0], PLAIN)


@pytest.mark.parametrize(
    "folders,expected",
    [
        ((), "has no folder val|no folder"),
        (("val",), "no folder .*val/images; expected images/validation and annotations/validation"),
        (("val/images",), "no folder .*val/labels"),
        (("val/images", "val/labels"), "holds no images"),
        (("images", "annotations"), "no folder .*images/validation"),
    ],
)
def test_missing_folders_are_named(tmp_path, folders, expected):
    (tmp_path / "x").mkdir()
    for folder in folders:
        (tmp_path / "x" / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=expected) as error:
        read(tmp_path / "x")
    assert "\n" not in str(error.value)


def test_too_many_classes_are_refused(plain):
    with pytest.raises(UserError, match="255 classes: files of labels hold at most 254"):
        read(plain, outputs=255)


def test_classes_are_named_by_the_data_folder(plain):
    def labels(count=3, metadata=None, known=()):
        found = TASK.names(plain / "c.pth", known, metadata or {}, count, plain)
        return [(n["id"], n["label"]) for n in found]

    assert labels() == [("0", "class 0"), ("1", "class 1"), ("2", "class 2")]
    (plain / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t.1\t2\t3\t1\tsky\n2\t.1\t2\t3\t1\ttree, wood\n"
        "3\t.1\t2\t3\t1\troad\n"
    )
    assert [label for _, label in labels()] == ["sky", "tree, wood", "road"]
    assert class_names_in(plain / "val", 3) == ["sky", "tree, wood", "road"]
    (plain / "classes.txt").write_text("﻿a\n\nb\na\n", "utf-8")
    assert labels() == [("0", "a"), ("1", "b"), ("2", "a")]
    assert labels(known=NAMES)[0] == ("sky", "sky")
    assert labels(metadata={"labels": json.dumps(["x", "y", "z"])})[2] == ("z", "z")
    with pytest.raises(UserError, match="classes.txt names 3 classes, the network has 4; give"):
        labels(4)
    (plain / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="classes.txt: it isn't UTF-8; give"):
        labels()


# -- numbers


def test_a_small_case_by_hand():
    truth = np.array([[[0, 0, 1], [1, 1, 255]]], np.uint8)
    answer = np.array([[[0, 1, 1], [1, 2, 2]]], np.uint8)
    assert scores.confusions(answer, truth, 3).tolist() == [[[1, 1, 0], [0, 2, 1], [0, 0, 0]]]
    figures = TASK.figures(answer, truth)
    assert figures["mean_iou_percent"] == pytest.approx(100 * (1 / 2 + 2 / 4 + 0) / 3)
    assert figures["pixel_accuracy_percent"] == pytest.approx(60)


def random_maps(seed, images=7, classes=5, side=12, wrong=0.3):
    """Labels with ignored pixels, and two models' maps."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (images, side, side)).astype(np.uint8)
    truth[:, : side // 3] = rng.integers(0, classes, (images, 1, 1))
    answers = []
    for share in (wrong, 1.5 * wrong):
        other = rng.integers(0, classes, truth.shape).astype(np.uint8)
        answers.append(np.where(rng.random(truth.shape) < share, other, truth))
    truth[rng.random(truth.shape) < 0.1] = 255
    return truth, *answers


def plain_mean_iou(confusion):
    values = []
    for c in range(len(confusion)):
        union = confusion[c].sum() + confusion[:, c].sum() - confusion[c, c]
        if union:
            values.append(100 * confusion[c, c] / union)
    return float(np.mean(values)) if values else 0.0


@pytest.mark.parametrize("seed", range(6))
def test_counts_add_up_as_confusion_matrices_do(seed):
    truth, a, _ = random_maps(seed, classes=2 + 3 * seed)
    matrices = scores.confusions(a, truth, 2 + 3 * seed)
    assert matrices.sum() == (truth != 255).sum()
    expected = plain_mean_iou(matrices.sum(axis=0))
    assert TASK.figure(TASK.scored(a, truth)) == pytest.approx(expected)
    right = 100 * ((a == truth) & (truth != 255)).sum() / (truth != 255).sum()
    assert TASK.figures(a, truth)["pixel_accuracy_percent"] == pytest.approx(right)


@pytest.mark.parametrize("seed", range(3))
def test_the_bootstrap_is_a_loop_over_resampled_confusion_matrices(seed):
    truth, a, b = random_maps(seed)
    one, two = (scores.confusions(m, truth, 5) for m in (a, b))
    rng, drops = np.random.default_rng(3), []
    for _ in range(200):
        chosen = rng.integers(0, len(truth), (1, len(truth)))[0]
        drops.append(plain_mean_iou(one[chosen].sum(0)) - plain_mean_iou(two[chosen].sum(0)))
    before, now = TASK.scored(a, truth)[None], TASK.scored(b, truth)[None]
    found = scores.drop_interval(before, now, seed=3, resamples=200)
    assert found == pytest.approx(np.percentile(drops, [2.5, 97.5]))
    drop = TASK.drop(a, b, truth)
    points = plain_mean_iou(one.sum(0)) - plain_mean_iou(two.sum(0))
    assert drop.points == pytest.approx(points) and drop.low < points < drop.high
    assert drop == TASK.drop(a, b, truth)
    assert drop.lost + drop.won <= len(truth)


def test_nothing_is_lost_against_oneself():
    truth, a, _ = random_maps(1)
    drop = TASK.drop(a, a, truth)
    assert (drop.points, drop.low, drop.high, drop.lost, drop.won) == (0, 0, 0, 0, 0)


def test_the_mean_over_conditions_draws_images_with_all_of_them():
    truth, a, b = random_maps(2)
    before, now = (np.stack([TASK.scored(m, truth)] * 3) for m in (a, b))
    mean, one = TASK.mean_drop(before, now), TASK.drop(a, b, truth)
    assert mean.points == pytest.approx(one.points)
    assert (mean.low, mean.high) == pytest.approx((one.low, one.high))
    assert TASK.figure(now) == pytest.approx(TASK.figure(now[0]))


def test_corruptions_are_measured_by_it():
    truth, a, b = random_maps(2)
    models = [Predictions("torch float", a, "reference"), Predictions("toy int8", b, "int8", "a")]
    found = {condition: models for condition in (None, Condition("gaussian blur", 5))}
    float_, int8 = make_record(Answers(found, list(range(7)), []), truth, TASK)["models"]
    drop = TASK.drop(a, b, truth)
    assert int8["mean_drop"]["points"] == pytest.approx(drop.points)
    assert float_["mean_mean_iou_percent"] == TASK.figures(a, truth)["mean_iou_percent"]


def test_many_images_and_classes_take_seconds():
    rng = np.random.default_rng(0)
    union = rng.integers(0, 5000, (2000, 150))
    before = np.zeros((2000, 2, 255), np.int32)
    before[:, 1, :150], before[:, 0, :150] = union, union // 2
    now = before.copy()
    now[:, 0, :150] = rng.integers(0, union // 2 + 1)
    start = time.process_time()
    drop = TASK.drop_of(before, now)
    assert time.process_time() - start < 60 and drop.low < drop.points < drop.high


def test_unlabelled_images_weigh_nothing():
    truth, a, b = random_maps(4)
    more = np.concatenate([truth, np.full_like(truth[:2], 255)])
    twice = [np.concatenate([m, m[:2]]) for m in (a, b)]
    assert TASK.figures(twice[0], more) == TASK.figures(a, truth)
    assert TASK.drop(*twice, more).points == pytest.approx(TASK.drop(a, b, truth).points)
    assert TASK.figures(a[:1], np.full_like(truth[:1], 255))["mean_iou_percent"] == 0
    with pytest.raises(UserError, match="no pixel of these images is labelled"):
        TASK.require_targets(np.full_like(truth, 255), 5)
    with pytest.raises(UserError, match="a label lies outside the 3 classes"):
        TASK.require_targets(truth, 3)
    TASK.require_targets(truth, 5)


def test_maps_are_kept_of_numbers():
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((3, 5, 4, 6)).astype(np.float32)
    numbers[0, :, 0, 0] = 1.0
    numbers[2, 1, 2, 3] = np.nan
    kept = TASK.keep(numbers, 5)
    assert kept.dtype == np.uint8 and kept.shape == (3, 4, 6) and kept[0, 0, 0] == 0
    assert np.array_equal(kept[:2], numbers[:2].argmax(1)) and (kept[2] == 255).all()
    assert TASK.finite(kept).tolist() == TASK.finite(numbers).tolist() == [True, True, False]
    flat = TASK.keep(numbers.reshape(3, -1), 5)
    assert np.array_equal(flat, kept.reshape(3, -1))
    truth = rng.integers(0, 5, (3, 8, 12)).astype(np.uint8)
    assert TASK.figures(flat, truth) == TASK.figures(kept, truth) == TASK.figures(numbers, truth)
    assert TASK.fits(kept.shape[1:], 5) and TASK.fits(flat.shape[1:], 5)
    assert not TASK.fits(numbers.shape[1:], 5)
    for wrong in (numbers[:, :4], numbers[:, :, 0], numbers.reshape(3, -1)[:, :-1]):
        with pytest.raises(ValueError):
            TASK.keep(wrong, 5)


def test_maps_that_files_give_are_kept_as_they_are():
    maps = np.random.default_rng(0).integers(0, 5, (3, 4, 6)).astype(np.uint8)
    maps[2] = 255
    kept = TASK.keep(maps, 5)
    assert np.array_equal(kept, maps) and kept.dtype == np.uint8
    assert TASK.finite(kept).tolist() == [True, True, False]
    assert TASK.golden({"file": maps[0]}) == {"runs": {"file": to_runs(maps[0])}}
    with pytest.raises(ValueError, match="class 4 of 4"):
        TASK.keep(maps, 4)


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_what_files_may_answer_with_is_the_tasks(name):
    task = get_task(name)
    for answer in ANSWERS:
        if answer in task.answers:
            task.require_answer(answer)
        else:
            with pytest.raises(UserError, match=f"--answer {answer}: .* {name} give scores alone"):
                task.require_answer(answer)
    assert task.answers == (ANSWERS if task.maps else ("scores",))
    assert {a for facts in TARGETS.values() for a in facts.answers} == set(ANSWERS)


def test_an_image_that_is_not_finite_has_no_right_pixel():
    truth, a, _ = random_maps(5)
    broken = a.copy()
    broken[1] = 255
    matrices = scores.confusions(broken, truth, 5)
    assert matrices[1].sum() == 0
    assert TASK.scored(broken, truth)[1, 0].sum() == 0
    assert (
        TASK.figures(broken, truth)["mean_iou_percent"] < TASK.figures(a, truth)["mean_iou_percent"]
    )
    assert not TASK.alike(broken, broken)[1]


def test_small_maps_are_laid_on_large_labels():
    one = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(maps.laid_on(one, (8, 12)), np.kron(one, np.ones((4, 4), np.uint8)))
    assert np.array_equal(maps.laid_on(one.ravel(), (8, 12)), maps.laid_on(one, (8, 12)))
    assert np.array_equal(maps.laid_on(maps.laid_on(one, (10, 15)), (2, 3)), one)
    with pytest.raises(ValueError, match="5 pixels don't make a map"):
        maps.laid_on(one.ravel()[:5], (8, 12))


def test_agreement_is_of_pixels():
    a = np.zeros((2, 10, 10), np.uint8)
    b = a.copy()
    b[0, 0, :5], b[1, 0, :6] = 1, 1
    assert TASK.agreement_percent(a, b) == pytest.approx(94.5)
    assert TASK.alike(a, b).tolist() == [True, False]
    with pytest.raises(ValueError):
        TASK.agreement_percent(a[:0], b[:0])


def test_losses_and_divergence_are_of_pixels():
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((2, 3, 4, 4)) for _ in range(2))
    truth = rng.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    truth[1, :, 0] = 255
    p = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    q = np.exp(b) / np.exp(b).sum(1, keepdims=True)
    for i, loss in enumerate(TASK.losses(a, truth)):
        own = [-np.log(p[i, truth[i, y, x], y, x]) for y in range(4) for x in range(4)
               if truth[i, y, x] != 255]  # fmt: skip
        assert loss == pytest.approx(np.mean(own))
    assert TASK.divergence(a, b) == pytest.approx((p * np.log(p / q)).sum(1).mean())
    assert TASK.divergence(a, a) == 0 and np.array_equal(TASK.own_targets(a), a.argmax(1))
    large = np.repeat(np.repeat(truth, 4, 1), 4, 2)
    assert TASK.losses(a, large) == pytest.approx(TASK.losses(a, truth))
    assert TASK.losses(a, np.full_like(truth, 255)).tolist() == [0, 0]
    with pytest.raises(ValueError, match="expected logits"):
        TASK.losses(truth, truth)


# -- devices


def line(numbers):
    return image_answer(numbers, numbers.shape[1:], False)


def test_lines_with_runs_say_what_is_worth():
    numbers = np.random.default_rng(2).standard_normal((3, 3, 4, 6)).astype(np.float32)
    numbers[1, 0, 0, 0] = np.nan
    lines = [line(n) for n in numbers]
    truth = np.random.default_rng(3).integers(0, 3, (3, 8, 12)).astype(np.uint8)
    kept = TASK.keep(numbers, 3)
    told = TASK.told(lines, [truth[0], truth[1], None], 3, (4, 6))
    assert told.finite.tolist() == [True, False, True]
    assert told.figures == TASK.figures(kept[:2], truth[:2])
    assert np.array_equal(told.scored[:2], TASK.scored(kept[:2], truth[:2]))
    assert TASK.told_alike(lines, kept, 3).tolist() == [True, False, True]
    assert TASK.told_percent(lines, kept, 3) == TASK.agreement_percent(kept, kept)
    unknown = TASK.told(lines, [None] * 3, 3)
    assert set(unknown.figures.values()) == {None} and unknown.scored is None


# -- records and pages


@pytest.fixture
def record():
    truth, a, b = random_maps(9, images=20, classes=3)
    c = a.copy()
    c[:, 0, 0] = (a[:, 0, 0] + 1) % 3
    c[4] = 255
    models = [
        Predictions("torch float", a, "reference"),
        Predictions("toy int8", b, "int8", "a.toy"),
        Predictions("toy two int8", c, "int8", "b.toy"),
        Predictions("toy float", a, "float", "c.toy"),
    ]
    names = [f"{i}.jpg" for i in range(20)]
    return build_record(models, truth, NAMES, names, (), {"model": "toy"}, {}, task="segmentation")


def test_a_record_has_the_tasks_own_figures(record):
    json.dumps(record, allow_nan=False)
    base, int8, other, twin = record["predictions"]
    assert int8["drop"]["points"] == pytest.approx(
        base["mean_iou_percent"] - int8["mean_iou_percent"]
    )
    assert twin["drop"]["points"] == 0 and other["non_finite"] == 1 and base["non_finite"] == 0
    pairs = {(p["reference"], p["other"]): p for p in record["agreement"]}
    assert pairs["torch float", "toy float"]["identical"]
    assert not pairs["torch float", "toy int8"]["identical"]
    assert all(p["sqnr_db"] is None for p in record["agreement"])
    assert record["worst_images"] == []
    assert [row["label"] for row in record["per_class"]] == list(NAMES)
    for model in range(4):
        mean = np.mean([row["iou_percent"][model] for row in record["per_class"]])
        assert mean == pytest.approx(record["predictions"][model]["mean_iou_percent"])


def test_gates_and_the_table_take_it(record):
    verdicts = check(record, Gates(min_agreement=90))
    line = next(v.line for v in verdicts if v.line.startswith("toy int8: "))
    assert line.startswith(f"toy int8: drop {record['predictions'][1]['drop']['points']:.2f}")
    assert "mIoU" in text_table(record)


def test_a_class_that_nobody_names_has_no_row_and_a_missing_one_no_figure():
    truth = np.zeros((1, 4, 4), np.uint8)
    models = [Predictions("a", truth, "reference"), Predictions("b", truth + 2, "int8")]
    rows = TASK.rows(models, truth, ("x", "y", "z"))
    assert [(r["label"], r["images"], r["pixels"]) for r in rows] == [("x", 1, 16), ("z", 0, 0)]
    assert [r["iou_percent"] for r in rows] == [[100.0, 0.0], [None, 0.0]]
    assert TASK.rows([], truth, ("x",)) == []


def test_the_least_agreeing_images_have_pictures(record):
    found = record["disagreements"]
    assert [d["index"] for d in found] == list(range(20))
    pictured = [d for d in found if "pictures" in d]
    assert len(pictured) == 12 and 4 in [d["index"] for d in pictured]
    least = {d["index"]: min(d["pixel_agreement_percent"][:3]) for d in found}
    shown = {d["index"] for d in pictured}
    assert max(least[i] for i in shown) <= min(least[i] for i in least if i not in shown)
    answers = pictured[0]["pictures"]["answers"]
    assert answers[3] is None and pictured[0]["pictures"]["differences"][0] is None
    image = Image.open(io.BytesIO(base64.b64decode(answers[0])))
    assert image.mode == "P" and image.size == (12, 12)


def test_pictures_have_their_maps_colours():
    codes = np.array([[0, 1], [255, 149]], np.uint8)
    image = Image.open(io.BytesIO(base64.b64decode(picture.picture(codes)))).convert("RGB")
    colours = [image.getpixel((x, y)) for y in range(2) for x in range(2)]
    assert colours == [picture.colour(int(c)) for c in codes.ravel()]
    assert picture.colour(0) == (128, 0, 0) and picture.colour(1) == (0, 128, 0)
    assert len({picture.colour(c) for c in range(255)}) == 255
    assert max(picture.small(np.zeros((300, 500), np.uint8), (300, 500)).shape) == 128


def test_the_page_shows_maps_and_classes(record):
    html = page(Known.of_validation(record))
    assert html.count("data:image/png;base64,") == 12 * (1 + 3 + 2)
    assert "An int8 file gives more than 5 % of the pixels another class on 20 of 20" in html
    assert "IoU of torch float in percent" in html and "share of pixels with the same class" in html
    assert "mIoU" in html and "sky" in html
    assert "∞ where all answers are identical" in html and "noise ratio" not in html


def test_maps_are_laid_on_what_the_network_sees(record, tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(20)]
    for path in paths:
        photograph(path, 60, 40)
    paths[record["disagreements"][0]["index"]].write_bytes(b"")
    seen = Pictures(paths, Preprocess((64, 320), 0.9))
    html = page(Known.of_validation(record, seen))
    photographs = re.findall('data:image/jpeg;base64,([^"]*)', html)
    count = sum("pictures" in d for d in record["disagreements"][1:])
    assert len(photographs) == count * (1 + 1 + 3 + 2)
    assert Image.open(io.BytesIO(base64.b64decode(photographs[0]))).size == (160, 32)
    seen.write(tmp_path)
    assert page(Known.of_validation(record, read_pictures(tmp_path))) == html
    assert "data:image/jpeg" not in page(Known.of_validation(record))


@pytest.mark.parametrize("size", [224, (512, 512), (128, 1000), (17, 90)])
@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
def test_a_smaller_view_shows_the_same(tmp_path, size, fit):
    x, y = np.meshgrid(np.linspace(0, 255, 300), np.linspace(0, 255, 200))
    image = Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8))
    whole = Preprocess(size, 0.8, fit=fit)
    small = whole.smaller(64)
    assert max(small.sides) == 64 or min(small.sides) == 16
    shown, seen = small.pixels(image).astype(int), whole.pixels(image).astype(int)
    rows, columns = (
        label_file.nearest(a, b) for a, b in zip(whole.sides, small.sides, strict=True)
    )
    alike = np.abs(shown - seen[rows[:, None], columns]) < 20
    # A bar may begin a pixel earlier.
    assert alike.mean() > 0.95 if fit == "letterbox" else alike.all()


def test_the_page_of_models_that_agree_says_so():
    truth, a, _ = random_maps(9, classes=3)
    models = [Predictions("torch float", a, "reference"), Predictions("toy int8", a, "int8", "a")]
    names = [f"{i}.jpg" for i in range(len(a))]
    record = build_record(models, truth, NAMES, names, (), {}, {}, task="segmentation")
    assert record["disagreements"] == []
    html = page(Known.of_validation(record))
    assert "at least 95 % of the pixels are alike" in html


def test_names_of_hostile_classes_are_text(record):
    record["data"]["labels"] = ["<script>", '"quoted"', "b"]
    assert "<script" not in page(Known.of_validation(record))


def test_maps_of_another_shape_are_refused():
    truth, a, _ = random_maps(9, classes=3)
    wrong = [Predictions("torch float", a[..., None], "reference")]
    with pytest.raises(UserError, match="belongs to another model"):
        build_record(wrong, truth, NAMES, ["a"] * len(a), (), {}, {}, task="segmentation")
