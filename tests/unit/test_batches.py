"""Batches of images over workers: their order, what is damaged, what changes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.measure.batches import Batch, cached, over_batches
from mobilemod.data.imagefolder import ImageFolder, load_pixels, read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError

COUNT, SIZE = 10, 4
PREPROCESS = Preprocess(size=32)


@pytest.fixture
def pool() -> Iterator[Executor]:
    """One thread: tasks are done in the order in which they are given."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def images(tmp_path) -> ImageFolder:
    """Ten images in two classes, each of one colour."""
    for i in range(COUNT):
        path = tmp_path / "val" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        paint(path, 20 * i)
    return read_folder(tmp_path / "val")


def paint(path: Path, value: int) -> None:
    Image.new("RGB", (40, 40), (value, value, value)).save(path)


def means(batch: Batch, factor: int) -> list[tuple[str, float]]:
    return [(n, factor * float(p.mean())) for n, p in zip(batch.names, batch.pixels, strict=True)]


def expected(images: ImageFolder, indices: list[int], factor: int) -> list[tuple[str, float]]:
    pixels = [load_pixels(images.samples[i].path, PREPROCESS) for i in indices]
    return [
        (images.name(i), factor * float(p.mean())) for i, p in zip(indices, pixels, strict=True)
    ]


def test_values_are_by_task_in_the_images_order_whoever_is_done_first(images):
    """The first batch waits until the last one is through."""
    last = threading.Event()

    def work(batch: Batch, factor: int) -> list[tuple[str, float]]:
        if images.name(0) in batch.names:
            assert last.wait(30)
        elif images.name(COUNT - 1) in batch.names:
            last.set()
        return means(batch, factor)

    with ThreadPoolExecutor(6) as pool:
        joined = over_batches(pool, images, PREPROCESS, SIZE, work, [1, 2], "x")
    assert joined.starts == [0, 4, 8] and joined.indices == list(range(COUNT))
    assert list(map(len, joined.kept)) == [4, 4, 2]
    for factor, values in zip((1, 2), joined.values, strict=True):
        assert sum(values, []) == expected(images, joined.indices, factor)
    assert joined.damage.files == []


def test_a_batch_is_normalized_as_the_set(images, pool):
    work = lambda batch, _: batch.normalized()  # noqa: E731
    joined = over_batches(pool, images, PREPROCESS, SIZE, work, [None], "x")
    pixels = np.stack([load_pixels(s.path, PREPROCESS) for s in images.samples])
    assert np.array_equal(np.concatenate(joined.values[0]), PREPROCESS.normalize(pixels))


def test_damaged_images_are_counted_once_and_a_batch_of_them_is_left_out(images, pool):
    for i in (1, 8, 9):
        images.samples[i].path.write_bytes(b"no image")
    joined = over_batches(pool, images, PREPROCESS, SIZE, means, [1, 2], "x", most_damaged=0.5)
    kept = [0, 2, 3, 4, 5, 6, 7]
    assert joined.indices == kept and joined.starts == [0, 4]
    assert joined.damage.files == [str(images.samples[i].path) for i in (1, 8, 9)]
    assert all(joined.damage.reasons) and len(joined.damage.reasons) == 3
    for factor, values in zip((1, 2), joined.values, strict=True):
        assert sum(values, []) == expected(images, kept, factor)


def test_too_many_damaged_images_are_counted_over_the_whole_set(images, pool):
    for i in (1, 9):
        images.samples[i].path.write_bytes(b"no image")
    with pytest.raises(UserError, match="2 of 10 images can't be read"):
        over_batches(pool, images, PREPROCESS, SIZE, means, [1], "x")


def test_an_image_that_changes_between_two_tasks_is_noticed(images, pool):
    def work(batch: Batch, task: int) -> None:
        if task == 0:
            paint(images.samples[0].path, 200)

    with pytest.raises(UserError, match="images changed while they were read; run again"):
        over_batches(pool, images, PREPROCESS, SIZE, work, [0, 1], "x")


def test_an_image_that_changes_between_two_calls_is_noticed(images, pool):
    digests: dict[int, str] = {}
    arguments = (pool, images, PREPROCESS, SIZE, means, [1], "x")
    over_batches(*arguments, digests=digests)
    paint(images.samples[9].path, 3)
    # The last batch isn't looked at here.
    joined = over_batches(*arguments, starts=[4, 0], digests=digests)
    assert joined.starts == [4, 0] and joined.indices == [4, 5, 6, 7, 0, 1, 2, 3]
    with pytest.raises(UserError, match="images changed"):
        over_batches(*arguments, digests=digests)
    images.samples[0].path.unlink()
    with pytest.raises(UserError, match="images changed"):
        over_batches(*arguments, starts=[0], digests=digests, most_damaged=1.0)


def test_what_work_raises_comes_through(images, pool):
    def work(batch: Batch, task: int) -> None:
        raise UserError("the bundle is damaged")

    with pytest.raises(UserError, match="the bundle is damaged"):
        over_batches(pool, images, PREPROCESS, SIZE, work, [0], "x")


def test_what_was_made_once_is_read_again(tmp_path):
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(3, dtype=np.float32)

    path = tmp_path / "ab" / "x.npy"
    first, again = cached(path, make), cached(path, make)
    assert len(made) == 1 and first.dtype == again.dtype and np.array_equal(first, again)


def test_nothing_is_kept_of_what_fails(tmp_path):
    def fail() -> np.ndarray:
        raise UserError("no")

    def broken(file, value) -> None:
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "x.npy"
    with pytest.raises(UserError):
        cached(path, fail)
    with pytest.raises(OSError, match="disk full"):
        cached(path, lambda: 1, save=broken)
    assert list(tmp_path.iterdir()) == []
