"""Image files as they come: damaged, huge, oddly named, no files at all."""

from __future__ import annotations

import io
import os
import socket
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.verbs.main import main
from mobilemod.data import image_file
from mobilemod.data.image_file import DamagedImage, read_image
from mobilemod.data.imagefolder import Damage, iter_pixels, load_pixels, read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError, shown
from mobilemod.files import open_regular
from mobilemod.results.markup import thumbnail

SMALL = Preprocess(size=32, crop_fraction=1.0)
CASES = Path(__file__).parents[1] / "data" / "images"


def picture(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def saved(form: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, form, **options)
    return buffer.getvalue()


def damage_of(path: Path, content: bytes | None = None) -> DamagedImage:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedImage) as caught:
        load_pixels(path, SMALL)
    assert "\n" not in str(caught.value)
    return caught.value


# -- damage


def test_the_shared_cases():
    """Damaged EXIF and a damaged index of further images stop no photograph."""
    for name in ("damaged_exif.jpg", "damaged_mpo.jpg"):
        assert load_pixels(CASES / name, SMALL).shape == (32, 32, 3)
    found = damage_of(CASES / "damaged_avif.jpg")
    assert found.kind == "damaged" and "image item" in found.detail


@pytest.mark.parametrize(
    "form,cut", [("JPEG", 300), ("JPEG", -20), ("PNG", -30), ("WEBP", -20), ("AVIF", -30),
                 ("GIF", -30), ("BMP", -30), ("PNG", 20), ("TIFF", -3000)],
)  # fmt: skip
def test_a_file_without_its_end_is_cut_off(tmp_path, form, cut):
    content = saved(form)
    assert damage_of(tmp_path / "a.jpg", content[:cut]).kind == "cut off"


@pytest.mark.parametrize(
    "content,kind",
    [(b"", "empty"), (b"no image", "no image"), (b"<html>404</html>", "no image"),
     (b"\x89PNG\r\n\x1a\n" + b"\0" * 90 + b"IEND\xae\x42\x60\x82", "damaged"),
     (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image")],
)  # fmt: skip
def test_kinds_of_damage(tmp_path, content, kind):
    assert damage_of(tmp_path / "a.jpg", content).kind == kind


@pytest.mark.parametrize(
    "error", [struct.error("x"), TypeError("x"), RuntimeError("a\nb"), MemoryError(), KeyError(7),
              RecursionError(), ZeroDivisionError(), EOFError(), AssertionError()],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_whatever_is_raised_is_the_images_damage(tmp_path, error):
    path = tmp_path / "a.png"
    path.write_bytes(saved("PNG"))

    def take(image):
        raise error

    with pytest.raises(DamagedImage) as caught:
        read_image(path, take)
    assert caught.value.kind in ("damaged", "not enough memory") and "\n" not in str(caught.value)


def test_an_interrupt_is_no_damage(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(saved("PNG"))

    def take(image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_image(path, take)


@pytest.mark.parametrize("orientation", [*range(10), "six", (6, 6), 6.0, -1, b"\xff"])
def test_any_exif_orientation(tmp_path, orientation, monkeypatch):
    path = tmp_path / "a.png"
    picture().save(path)
    exif = {0x0112: orientation}
    monkeypatch.setattr(Image.Image, "getexif", lambda image: exif)
    found = load_pixels(path, SMALL)
    exif.clear()
    turns = (None, None, 0, 3, 1, 5, 4, 6, 2)  # of Pillow's Transpose, by orientation
    turn = turns[int(orientation)] if orientation in range(2, 9) else None
    upright = picture() if turn is None else picture().transpose(Image.Transpose(turn))
    assert np.array_equal(found, SMALL.pixels(upright))


def test_exif_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    picture().save(path)
    expected = load_pixels(path, SMALL)

    def fails(image):
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(Image.Image, "getexif", fails)
    assert np.array_equal(load_pixels(path, SMALL), expected)


def test_warnings_as_errors(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(saved("PNG", picture(400, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)  # Pillow warns over this
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_pixels(path, SMALL).shape == (32, 32, 3)


def test_declared_size(tmp_path):
    content = bytearray(saved("PNG"))
    struct.pack_into(">II", content, 16, 60_000, 60_000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    found = damage_of(tmp_path / "a.png", bytes(content))
    assert found.kind == "too large"
    struct.pack_into(">II", content, 16, 12_000, 12_000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    found = damage_of(tmp_path / "a.png", bytes(content))
    assert found.kind == "too large" and "12000 x 12000" in found.detail
    assert str(image_file.MAX_PIXELS) in found.detail


def test_declared_size_of_a_webp(tmp_path):
    content = bytearray(saved("WEBP", save_all=True, append_images=[picture(seed=1)]))
    at = content.index(b"VP8X") + 12
    content[at : at + 3] = (image_file.MAX_WEBP_PIXELS // 40).to_bytes(3, "little")
    found = damage_of(tmp_path / "a.webp", bytes(content))
    assert found.kind == "too large" and str(image_file.MAX_WEBP_PIXELS) in found.detail


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "a.webp").open("wb") as file:
        file.write(saved("WEBP"))
        file.truncate(1 << 40)  # a hole
    assert damage_of(tmp_path / "a.webp").kind == "too large"


def test_a_progressive_jpeg_of_many_scans(tmp_path):
    content = saved("JPEG", progressive=True)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert load_pixels(path, SMALL).shape == (32, 32, 3)
    last = content.rindex(b"\xff\xda")
    many = content[:last] + content[last:-2] * 200 + b"\xff\xd9"
    found = damage_of(path, many)
    assert found.kind == "too slow" and "scans" in found.detail


def test_a_slow_decoder_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_SECONDS", -1.0)
    assert damage_of(tmp_path / "a.ppm", saved("PPM")).kind == "too slow"


def test_a_vanished_and_a_forbidden_file(tmp_path, monkeypatch):
    assert damage_of(tmp_path / "gone.jpg").kind == "no such file or directory"

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(image_file, "open_regular", forbidden)
    assert damage_of(tmp_path / "a.jpg", saved("JPEG")).kind == "permission denied"


def test_no_regular_file_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.relpath(tmp_path / "socket.jpg"))
        for name, kind in (("pipe", "named pipe"), ("folder", "folder"), ("socket", "socket")):
            path = tmp_path / f"{name}.jpg"
            assert damage_of(path).kind == f"not a regular file but a {kind}"
            with pytest.raises(OSError, match=kind):
                open_regular(path)
            assert thumbnail(path) is None
    (tmp_path / "null.jpg").symlink_to("/dev/zero")
    assert "device" in damage_of(tmp_path / "null.jpg").kind


@pytest.mark.parametrize("suffix", sorted(image_file.IMAGE_SUFFIXES))
def test_every_suffix_is_read(tmp_path, suffix):
    (tmp_path / "a").mkdir()
    form = Image.registered_extensions()[suffix]
    image = picture().convert("L") if suffix == ".pgm" else picture()
    image.save(tmp_path / "a" / f"A{suffix.upper()}", form)
    folder = read_folder(tmp_path)
    assert load_pixels(folder.samples[0].path, SMALL).shape == (32, 32, 3)
    assert not folder.left_out


# -- all images are looked at, and counted by reason


def test_more_than_one_percent_counts_by_reason(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(40):
        content = saved("JPEG", picture(seed=i))
        content = content[:300] if i % 2 == 0 and i < 36 else content
        (tmp_path / "a" / f"{i:02}.jpg").write_bytes(b"text" if i in (37, 39) else content)
    folder, found, given = read_folder(tmp_path), Damage(40), []
    with pytest.raises(UserError) as caught:
        given += [i for i, _ in iter_pixels(folder, SMALL, found)]
    message = str(caught.value)
    assert "20 of 40 images can't be read (more than 1 %): 18 cut off, 2 no image" in message
    assert "a/00.jpg: cut off" in message and "a/37.jpg: no image" in message
    assert len(found.images) == 20 and not given


def test_digest_of_a_vanished_file(tmp_path):
    (tmp_path / "a").mkdir()
    picture().save(tmp_path / "a" / "x.jpg")
    folder = read_folder(tmp_path)
    before = folder.digest()
    folder.samples[0].path.unlink()
    assert folder.digest() != before


# -- names


ODD = [b"bad\xff\xfe.jpg", b"new\nline.jpg", b"<script>alert(1)<!--.jpg", b"esc\x1b[31m.jpg",
       "rtl\u202egpj.jpg".encode(), b"a" * 240 + b".jpg", "עברית.JPG".encode()]  # fmt: skip


@pytest.fixture
def odd(tmp_path) -> Path:
    """A class folder whose own name and images' names are odd, and things that are no images."""
    folder = os.path.join(os.fsencode(tmp_path), b"set", b"cl\xe4ss")
    os.makedirs(folder)
    for i, name in enumerate(ODD):
        picture(seed=i).save(tmp_path / "x.jpg")
        os.rename(tmp_path / "x.jpg", os.path.join(folder, name))
    path = Path(os.fsdecode(folder))
    (path / "nested" / "deeper").mkdir(parents=True)
    picture().save(path / "nested" / "deeper" / "n.png")
    for name in ("._x.jpg", ".DS_Store", "Thumbs.db", "@eaDir/y.jpg", ".ipynb_checkpoints/z.jpg",
                 "__MACOSX/._q.jpg", "a.heic", "b.HEIC", "c.txt", "README"):  # fmt: skip
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"junk")
    os.mkfifo(path / "pipe.jpg")
    (path / "dir.jpg").mkdir()
    (path / "broken.jpg").symlink_to("nowhere")
    (path / "loop.jpg").symlink_to("loop.jpg")
    (path / "up").symlink_to("..")
    for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir"):
        (tmp_path / "set" / name).mkdir()
    (tmp_path / "set" / "stray.jpg").write_bytes(saved("JPEG"))
    return tmp_path / "set"


def test_what_is_read_and_what_is_left_out(odd, capsys):
    folder = read_folder(odd)
    assert folder.classes == ("cl\\xe4ss",)
    assert len(folder.samples) == len(ODD) + 1
    assert folder.left_out == {
        ".heic": 2, ".txt": 1, "without a suffix": 1, "named pipes": 1, "broken links": 2,
        "links to a folder that is read already": 1, "images beside the class folders": 1,
    }  # fmt: skip
    said = capsys.readouterr().err
    assert "left out: 2 .heic" in said and said.count("\n") == 1
    read_folder(odd)
    assert not capsys.readouterr().err  # once
    names = [folder.name(i) for i in range(len(folder.samples))]
    assert "cl\\xe4ss/nested/deeper/n.png" in names and "cl\\xe4ss/bad\\xff\\xfe.jpg" in names
    assert all(name.isprintable() and name.encode() for name in names)
    assert len(set(names)) == len(names) and len(folder.digest()) == 64
    found = Damage(len(names))
    assert len(list(iter_pixels(folder, SMALL, found))) == len(names) and not found.images


def test_shown_keeps_ordinary_names():
    for name in ("é 漢.jpg", 'it\'s "a" \\ *', "n01440764/a.JPEG"):
        assert shown(name) == name
    assert shown("a\udcff\x00\u202e") == "a\\xff\\x00\\u202e"


def test_an_empty_class_folder_says_what_is_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.heic").touch()
    with pytest.raises(UserError, match=r"holds no images .*; left out: 1 \.heic"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "arguments", ["inspect {}.tflite", "profile {}.pte", "validate {} --device host --gates {}",
                  "train --data . --config {}", "export --checkpoint {}", "bench {}.tflite"],
)  # fmt: skip
def test_a_pipe_given_as_a_file_is_one_line(tmp_path, capsys, arguments):
    for suffix in ("", ".tflite", ".pte"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
    assert main(arguments.format(*[tmp_path / "pipe"] * 2).split()) == 2
    said = capsys.readouterr().err
    assert "is a named pipe, not a file" in said and said.count("\n") == 1
