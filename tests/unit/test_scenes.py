"""Segmentation data composed of photographs: exact labels, the same bytes, splits kept apart."""

from __future__ import annotations

import errno
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.reports.command import command
from benchmarks.scenes import making
from benchmarks.scenes.__main__ import parse, run_command
from benchmarks.scenes.compose import BACKGROUND, IGNORED, compose
from benchmarks.scenes.folder import RECORD, WRITING, SceneFolder
from benchmarks.scenes.look import LEAST_SIDE, Look
from benchmarks.scenes.making import make_scenes
from benchmarks.scenes.photographs import read_sources
from benchmarks.scenes.shapes import WHOLE, Cut
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.tasks import get_task

PLAIN = replace(
    Look(), gain=(1.0, 1.0), gamma=(1.0, 1.0), colour=(1.0, 1.0), grain=(0.0, 0.0)
)  # the photographs' own pixels
ALONE = replace(PLAIN, regions=(1, 1), beneath=(0, 0), over=(0, 0))
COLOURS = {"a": (200, 30, 30), "b": (30, 200, 30), "c": (30, 30, 200)}
SPLIT_BLUE = {"train": 0, "val": 25}


def painted(split: str, name: str) -> tuple[int, int, int]:
    """The colour of a class's photographs in a split."""
    red, green, blue = COLOURS[name]
    return red, green, blue + SPLIT_BLUE[split]


@pytest.fixture
def coloured(tmp_path) -> Path:
    """Photographs of one colour each, so that every pixel tells whose it is."""
    root = tmp_path / "coloured"
    for split in SPLIT_BLUE:
        for name in COLOURS:
            (root / split / name).mkdir(parents=True)
            for i, size in enumerate(((96, 80), (70, 128))):
                image = Image.new("RGB", size, painted(split, name))
                image.save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    """The command with these options: exit code, stdout, stderr."""
    monkeypatch.delenv("MOBILEMOD_DATA", raising=False)

    def of(*options: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["scenes", *map(str, options)])
        return command(run_command, parse), *capsys.readouterr()

    return of


@pytest.mark.parametrize("split", SPLIT_BLUE)
def test_a_label_is_exactly_where_its_photograph_shows(coloured, split):
    photographs = read_sources(coloured).photographs[split]
    own = [painted(split, name) for name in COLOURS]
    for index in range(30):
        scene = compose(photographs, 3, split, index, 160, PLAIN)
        assert scene.image.shape == (160, 160, 3) and scene.image.dtype == np.uint8
        assert scene.labels.shape == (160, 160) and scene.labels.dtype == np.uint8
        for code in set(np.unique(scene.labels)) - {BACKGROUND, IGNORED}:
            assert (scene.image[scene.labels == code] == own[code - 1]).all()
        # No photograph of the other split, and nothing mixed outside the borders.
        background = scene.image[scene.labels == BACKGROUND]
        assert set(map(tuple, np.unique(background, axis=0))) <= set(own)


def test_borders_part_all_regions_and_are_two_pixels_wide(coloured):
    photographs = read_sources(coloured).photographs["train"]
    for index in range(20):
        labels = compose(photographs, 0, "train", index, 160, Look()).labels
        for seen, (down, across) in product((labels, labels[::-1]), ((0, 1), (1, 0), (1, 1))):
            near, far = seen[down:, across:], seen[: 160 - down, : 160 - across]
            touching = (near != far) & (near != IGNORED) & (far != IGNORED)
            assert not touching.any()
        alone = compose(photographs, 0, "train", index, 160, ALONE).labels
        (code,) = set(np.unique(alone)) - {BACKGROUND, IGNORED}
        # But for tips of a shape that are thinner than that.
        near = [_grown(alone == kind, 2) for kind in (BACKGROUND, code)]
        border = _inner(alone == IGNORED, 2)
        assert (near[0] & near[1])[border].mean() > 0.93


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Whether a pixel of `mask` is at most so many rows and columns away."""
    padded = np.pad(mask, by)
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * by + 1,) * 2).any((2, 3))


def _inner(mask: np.ndarray, by: int) -> np.ndarray:
    """`mask` without what is so near to the frame that it is cut there."""
    inner = np.zeros_like(mask)
    inner[by:-by, by:-by] = mask[by:-by, by:-by]
    return inner


@pytest.mark.parametrize("size", [(224, 224), (64, 300), (500, 333)])
def test_a_region_is_the_photograph_turned_and_scaled(size):
    """By its own formula: each pixel's colour says where in the photograph it was."""
    wide, high = size
    x, y = np.meshgrid(np.linspace(0, 255, wide), np.linspace(0, 255, high))
    photograph = Image.fromarray(np.stack([x, y, np.full_like(x, 255)], -1).round().astype("u1"))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        cut = Cut.draw(photograph, 128, Look(), rng)
        place = rng.uniform(30, 98, 2)
        within = np.asarray(cut.mask(place, 128)) == WHOLE
        rows, columns = np.nonzero(within)
        found = np.asarray(cut.pixels(place, 128))[within]
        assert (found[:, 2] == 255).all(), "a pixel from beyond the photograph"
        offsets = np.stack([columns, rows], -1) + 0.5 - place
        scale = np.array(cut.image.size) / size
        at = (offsets @ cut.turned + cut.centre) / scale
        expected = (at - 0.5) / (np.array(size) - 1) * 255
        assert np.abs(found[:, :2] - expected).max() < 8  # 2 pixels of the narrowest photograph
        assert np.abs(found[:, :2] - expected).mean() < 1


def test_regions_are_large_enough(coloured):
    photographs = read_sources(coloured).photographs["train"]
    for index in range(60):
        scene = compose(photographs, 1, "train", index, 256, ALONE)
        rows, columns = np.nonzero(scene.labels == scene.regions[0])
        assert min(np.ptp(rows), np.ptp(columns)) + 1 >= LEAST_SIDE * 256 == 72


def test_real_photographs_classes_and_splits(data_dir):
    sources = read_sources(data_dir)
    assert len(sources.names) == 10 and "golf ball" in sources.names
    count, used = 40, {}
    for split, photographs in sources.photographs.items():
        scenes = [compose(photographs, 0, split, i, 128, Look()) for i in range(count)]
        used[split] = {p for scene in scenes for p in scene.photographs}
        assert {p.relative_to(data_dir).parts[0] for p in used[split]} == {split}
        counts = Counter(int(code) for s in scenes for code in set(s.regions))
        assert all(counts[code] >= count // 10 for code in range(1, 11)), counts
        shown = Counter(int(code) for s in scenes for code in np.unique(s.labels))
        assert all(shown[code] >= count // 10 for code in range(11)), shown
        assert len(used[split]) > 3 * count  # varied
    assert not {file_sha256(p) for p in used["train"]} & {file_sha256(p) for p in used["val"]}


def test_photographs_of_train_are_left_out_of_val(coloured):
    same = coloured / "train" / "a" / "0.png"
    (coloured / "val" / "a" / "again.png").write_bytes(same.read_bytes())
    sources = read_sources(coloured)
    assert [p.name for p in sources.photographs["val"].files[0]] == ["0.png", "1.png"]
    assert sources.facts["val"]["left_out_as_in_train"] == 1


def files(root: Path) -> dict[str, str]:
    """Names and hashes of all that is there."""
    found = (p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): file_sha256(p) for p in found}


def test_same_seed_same_bytes_whatever_the_order(coloured, tmp_path, monkeypatch):
    """In one go, in two with files lost in between, and by worker processes."""
    whole, parts, together = (tmp_path / n for n in ("whole", "parts", "together"))
    counts = {"train": 6, "val": 3}
    assert make_scenes(coloured, whole, 128, counts, 7, 1) == 9
    expected = files(whole)
    assert sorted(expected)[:3] == [
        "classes.txt",
        "scenes.json",
        "train/images/000000.jpg",
    ]
    assert len(expected) == 2 + 2 * 9
    assert (whole / "classes.txt").read_text() == "background\na\nb\nc\n"
    record = json.loads((whole / RECORD).read_text())
    assert record["complete"] and record["scenes"] == counts and record["seed"] == 7

    make_scenes(coloured, parts, 128, {"train": 4, "val": 3}, 7, 1)
    (parts / "train" / "labels" / "000002.png").unlink()
    assert make_scenes(coloured, parts, 128, counts, 7, 1) == 3
    assert files(parts) == expected

    monkeypatch.setattr(making, "CHUNK", 2)
    make_scenes(coloured, together, 128, counts, 7, 2)
    assert files(together) == expected
    assert make_scenes(coloured, together, 128, counts, 7, 2) == 0

    other = tmp_path / "other"
    make_scenes(coloured, other, 128, counts, 8, 1)
    assert not set(expected.values()) & {v for k, v in files(other).items() if "images" in k}


def test_stopped_in_between_leaves_whole_files_and_says_so(coloured, tmp_path, monkeypatch):
    real, made = making.compose, []

    def stopping(*given):
        made.append(given)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(making, "compose", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(coloured, tmp_path / "out", 128, {"train": 5, "val": 1}, 0, 1)
    assert not json.loads((tmp_path / "out" / RECORD).read_text())["complete"]
    assert sum("images" in name for name in files(tmp_path / "out")) == 2
    # As a killed process leaves it.
    (tmp_path / "out" / WRITING / ".train-000002.jpg.1.a").write_bytes(b"half")
    (tmp_path / "out" / f".{RECORD}.1.a").write_bytes(b"half")
    monkeypatch.setattr(making, "compose", real)
    assert make_scenes(coloured, tmp_path / "out", 128, {"train": 5, "val": 1}, 0, 1) == 4
    assert not (tmp_path / "out" / WRITING).exists()


def test_a_damaged_photograph_is_passed_over(coloured):
    (coloured / "train" / "a" / "1.png").write_bytes(b"nothing")
    photographs = read_sources(coloured).photographs["train"]
    for index in range(9):
        assert coloured / "train" / "a" / "1.png" not in set(
            compose(photographs, 0, "train", index, 128, Look()).photographs
        )
    Image.new("RGB", (20, 200)).save(coloured / "train" / "a" / "0.png")
    with pytest.raises(UserError, match="(too small|no image).*mend or remove"):
        compose(read_sources(coloured).photographs["train"], 0, "train", 0, 128, Look())


def test_command(coloured, tmp_path, run):
    out = tmp_path / "out"
    given = ("--data", coloured, "--out", out, "--train", 2, "--val", 1, "--workers", 1)
    code, said, _ = run(*given, "--size", 128)
    assert code == 0 and "3 scenes made, 3 there" in said
    with Image.open(out / "val" / "labels" / "000000.png") as labels:
        assert labels.mode == "L" and labels.size == (128, 128)
    for changed, message in (
        (("--seed", 5), "scenes of another seed"),
        (("--size", 160), "scenes of another size"),
        (("--size", 128, "--train", 1), "is for 2 scenes of train: give --train 2 or more"),
    ):
        code, _, error = run(*given, "--size", 128, *changed)
        assert code == 2 and message in error and error.count("\n") == 1
    (out / RECORD).write_text("[]")
    assert "scenes.json can't be read" in run(*given, "--size", 128)[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "coloured"), "out holds other files and no scenes.json"),
        ((), "no photographs: give --data DIR"),
        (("--data", "nowhere"), "no data folder at"),
        (("--data", "coloured", "--size", 64), "--size 64 must be from 128 to 1024"),
        (("--data", "coloured", "--val", 0), "--val must be 1 or more"),
        (("--data", "coloured", "--seed", -1), "--seed must be 0 or more"),
        (("--data", "coloured/val"), "no folder train and val|has no folder"),
        (("--data", "lacking"), "only one of train and val has 'd'"),
        (("--data", "coloured", "--out", "out/a"), "--out .* can't be written: .*is no folder"),
    ],
)
def test_bad_input_is_told_in_one_line(coloured, tmp_path, run, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lacking").symlink_to(coloured)
    if "lacking" in options:
        (coloured / "train" / "d").mkdir()
        Image.new("RGB", (80, 80)).save(coloured / "train" / "d" / "0.png")
    out = tmp_path / "out"
    if "out/a" in options:
        out.write_text("")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    code, _, error = run("--out", "out", "--train", 1, "--val", 1, *options)
    assert code == 2 and error.count("\n") == 1
    assert error.startswith("error: ")
    assert re.search(message, error), error


def test_files_hold_the_scene(data_dir, tmp_path):
    """Labels to the bit, the image as near as JPEG has it."""
    folder = SceneFolder(tmp_path)
    for split in ("train", "val"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "labels").mkdir()
    photographs = read_sources(data_dir).photographs["val"]
    for index in range(4):
        scene = compose(photographs, 0, "val", index, 256, Look())
        folder.write("val", index, scene)
        name = f"{index:06d}"
        with Image.open(tmp_path / "val" / "labels" / f"{name}.png") as labels:
            assert (np.asarray(labels) == scene.labels).all()
        with Image.open(tmp_path / "val" / "images" / f"{name}.jpg") as image:
            apart = np.abs(np.asarray(image).astype(int) - scene.image)
        assert apart.mean() < 4
    assert folder.missing("val", 5) == [4]


def test_the_task_reads_what_is_made(coloured, tmp_path):
    """Names in their order, and each scene's labels as they were written."""
    out, task = tmp_path / "scenes", get_task("segmentation")
    make_scenes(coloured, out, 128, {"train": 2, "val": 3}, 0, 1)
    names = task.names(out, (), {}, 1 + len(COLOURS), out)
    assert [n["label"] for n in names] == ["background", *COLOURS]
    images = task.read(out, "val", [n["id"] for n in names], len(names))
    taken = Preprocess(128, 1.0, "bilinear", fit="stretch")
    found = task.targets(images, range(3), taken)
    for i, sample in enumerate(images.samples):
        with Image.open(out / "val" / "labels" / f"{sample.path.stem}.png") as label:
            assert np.array_equal(found[i], np.asarray(label))


def test_a_full_disk_is_one_line(coloured, tmp_path, monkeypatch, run):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.png"))

    monkeypatch.setattr(making, "make_scenes", full)
    monkeypatch.setattr("benchmarks.scenes.__main__.make_scenes", full)
    code, _, err = run("--data", coloured, "--out", tmp_path / "out", "--train", 1, "--val", 1)
    assert code == 2 and err.splitlines() == [
        f"error: {tmp_path / 'a.png'}: No space left on device"
    ]
