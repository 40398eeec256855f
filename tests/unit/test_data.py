"""The image folder and the preprocessing, on images made here and on the real ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mobilemod import ranges
from mobilemod.data.classes import ClassNames, output_order
from mobilemod.data.dataset import DataSet
from mobilemod.data.imagefolder import (
    Damage,
    imagenet_synsets,
    iter_pixels,
    load_pixels,
    read_folder,
)
from mobilemod.data.preprocess import LEAST_SIZE, Preprocess
from mobilemod.errors import UserError

IMAGENETTE = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
SMALL = Preprocess(size=32, crop_fraction=1.0)


def picture(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    """Smooth colours that differ in all four corners."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


@pytest.fixture
def make_folder(tmp_path):
    """`make_folder({class: count})`: a folder of pictures."""

    def make(counts, root="set"):
        for name, count in counts.items():
            (tmp_path / root / name).mkdir(parents=True)
            for i in range(count):
                picture(seed=i).save(tmp_path / root / name / f"{i:03}.jpg")
        return tmp_path / root

    return make


def refusal(*arguments, **named) -> str:
    with pytest.raises(UserError) as caught:
        read_folder(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_synsets():
    synsets = imagenet_synsets()
    assert len(synsets) == 1000
    assert [index for index, _ in synsets.values()] == list(range(1000))
    assert list(synsets) == sorted(synsets)
    assert {wnid: synsets[wnid][0] for wnid in IMAGENETTE} == IMAGENETTE
    assert synsets["n01440764"][1].startswith("tench")


def test_thousand_classes_by_wordnet_id(make_folder):
    root = make_folder({"n03888257": 2, "n02102040": 1})
    assert read_folder(root, num_classes=1000).targets.tolist() == [217, 701, 701]
    # Where the folders are the classes, as in training, their order counts.
    assert read_folder(root).targets.tolist() == [0, 1, 1]
    assert "name no class of the model" in refusal(root, num_classes=2)


def test_thousand_classes_and_no_wordnet_id(make_folder):
    root = make_folder({"n03888257": 1, "parachute": 1})
    assert refusal(root, num_classes=7).startswith(str(root))
    assert "'n03888257', 'parachute' name no class" in refusal(root, num_classes=7)


def test_thousand_folders_by_index_not_by_the_order_of_strings(make_folder):
    root = make_folder({str(i): 1 for i in range(1000)})
    folder = read_folder(root, num_classes=1000)
    assert [int(s.path.parent.name) for s in folder.samples] == folder.targets.tolist()


def test_thousand_folders_of_other_names(make_folder):
    message = refusal(make_folder({f"my{i:03}": 1 for i in range(1000)}), num_classes=1000)
    assert "'my000', 'my001', 'my002' and 997 more" in message and "index (0 to 999)" in message


def test_classes_by_padded_index_and_label(make_folder):
    root = make_folder({"007": 1, "Great_White  shark": 1, "n01440764": 1})
    assert sorted(read_folder(root, num_classes=1000).targets.tolist()) == [0, 2, 7]


def test_two_folders_of_one_class(make_folder):
    root = make_folder({"tench": 1, "n01440764": 1})
    assert "the same class (0)" in refusal(root, num_classes=1000)
    assert "'1000'" in refusal(make_folder({"1000": 1}), num_classes=1000)


def test_labels_give_the_order(make_folder):
    root = make_folder({"a": 1, "b": 2})
    assert read_folder(root, labels=("b", "a")).targets.tolist() == [1, 0, 0]


def test_missing_and_extra_class(make_folder):
    root = make_folder({"a": 1, "b": 1})
    message = refusal(root, labels=("a", "b", "c", "d"))
    assert "'c'" in message and "2 of the model's 4" in message
    assert "'b'" in refusal(root, labels=("a",))


def test_empty_folders(make_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refusal(tmp_path / "empty")
    root = make_folder({"a": 1, "b": 0})
    (root / "b" / "notes.txt").touch()
    assert f"{root / 'b'} holds no images" in refusal(root)
    assert "no such data folder" in refusal(tmp_path / "absent")
    with pytest.raises(UserError, match="DATA="):
        DataSet(tmp_path / "absent").folder("val")


def test_the_folder_of_a_split(make_folder):
    root = make_folder({"a": 1})
    assert DataSet(root).folder("val") == DataSet(root).folder("train") == root
    (root / "val").mkdir()
    assert DataSet(root).folder("val") == root / "val"
    with pytest.raises(UserError, match="has no folder train; it has val$"):
        DataSet(root).folder("train")
    (root / "test").mkdir()
    assert DataSet(root, "test").folder("val") == root / "test"
    with pytest.raises(UserError, match="has no folder tset"):
        DataSet(root, "tset").folder("val")


@pytest.mark.parametrize("name", ["train", "training", "Train"])
def test_training_images_are_not_measured_unasked(make_folder, name):
    root = make_folder({"a": 1}, name)
    with pytest.raises(UserError, match=f"holds training images; give --split {name}"):
        DataSet(root).folder("val")
    assert DataSet(root, name).folder("val") == root
    assert DataSet(root).folder("train") == root
    (root.parent / "up" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="has no folder val; it has train: give --split train"):
        DataSet(root.parent / "up").folder("val")


def test_a_models_own_classes_by_name(make_folder):
    root = make_folder({"Tench": 1, "golf_ball": 1, "0002": 1})
    index = read_folder(root, ("n01440764", "n03445777", "mine"))
    assert {s.path.parent.name: s.target for s in index.samples} == {
        "Tench": 0, "golf_ball": 1, "0002": 2,
    }  # fmt: skip
    # As many folders by accident.
    assert "'golf_ball'" in refusal(root, ("n01440764", "other", "mine"))


def test_ten_numbered_folders_are_in_the_order_of_numbers(make_folder):
    root = make_folder({str(i): 1 for i in range(11)})
    folder = read_folder(root, num_classes=11)
    assert [int(s.path.parent.name) for s in folder.samples] == folder.targets.tolist()
    numbers = tuple(map(str, range(11)))
    assert output_order(root, sorted(numbers), 11, None) == numbers


CLASS_FILES = [
    ('{"cats": "tench", "dogs": 217}', {"cats": 0, "dogs": 217}),
    ("# ours\ncats,n01440764\ndogs\t217\n", {"cats": 0, "dogs": 217}),
    ("cats, English springer\r\ndogs,0\r\n", {"cats": 217, "dogs": 0}),
]


@pytest.mark.parametrize(("text", "index"), CLASS_FILES)
def test_a_file_says_which_class_a_folder_is(make_folder, tmp_path, text, index):
    file = tmp_path / "classes"
    file.write_text(text)
    root = make_folder({"cats": 1, "dogs": 1})
    folder = read_folder(root, num_classes=1000, given=ClassNames.read(str(file)))
    assert {s.path.parent.name: s.target for s in folder.samples} == index


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "give a JSON object"),
        ("cats", "line 1: give a JSON object"),
        ("[1, 2]", "give a JSON object"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": 1, "a": 2}', "the folder 'a' stands there twice"),
        ("a,1\na,2", "the folder 'a' stands there twice"),
        ('["a", "a"]', "the folder 'a' stands there twice"),
        ('{"a": true}', "give a JSON object"),
        ('{"a": null}', "give a JSON object"),
        (b"\xff\xfe\x00", "it isn't UTF-8"),
    ],
)
def test_a_wrong_file_of_classes_is_one_line(tmp_path, text, line):
    file = tmp_path / "classes"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        ClassNames.read(str(file))
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_classes_that_isnt_there(tmp_path):
    with pytest.raises(UserError, match="No such file.*or the word sorted"):
        ClassNames.read(str(tmp_path / "absent"))


def test_outputs_without_names_are_not_guessed(make_folder):
    root, names = make_folder({"b": 1, "a": 1}), ["a", "b"]
    with pytest.raises(UserError, match="doesn't name its 2 classes.*--classes sorted"):
        output_order(root, names, 2, None)
    assert output_order(root, names, 2, ClassNames(sorted=True)) == ("a", "b")
    assert output_order(root, names, 2, ClassNames(order=("b", "a"))) == ("b", "a")
    assert output_order(root, names, 2, ClassNames({"a": "1", "b": "0"})) == ("b", "a")
    with pytest.raises(UserError, match="2 classes in order, the model has 3"):
        output_order(root, names, 3, ClassNames(sorted=True))


def test_how_many_were_calibrated_on(make_folder):
    """By their bytes, whatever they are called."""
    folder = read_folder(make_folder({"a": 6}))
    for i, sample in enumerate(folder.samples):
        sample.path.write_bytes(bytes([i]) * 100)
    known = folder.subset([0, 2]).contents()
    assert folder.about(known)["calibrated_on"] == 2
    assert folder.about(())["calibrated_on"] is None
    assert folder.about(((100, "0" * 64),))["calibrated_on"] == 0


def test_spread_and_digest(make_folder):
    folder = read_folder(make_folder({"a": 10, "b": 10}))
    few = folder.spread(4)
    assert [s.target for s in few.samples] == [0, 0, 1, 1]
    assert few == folder.spread(4)
    assert folder.spread(100) is folder
    before = folder.digest()
    assert before == folder.digest() != few.digest()
    picture(seed=99).save(folder.samples[7].path)
    assert folder.digest() != before


def damage(folder, count: int) -> list[str]:
    """Cut the first `count` images short; their paths."""
    for sample in folder.samples[:count]:
        sample.path.write_bytes(sample.path.read_bytes()[:300])
    return [str(s.path) for s in folder.samples[:count]]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_damaged_images_are_counted_and_named(make_folder, count):
    folder = read_folder(make_folder({"a": 200}))
    names = damage(folder, count)
    found = Damage(len(folder.samples))
    read = [i for i, _ in iter_pixels(folder, SMALL, found)]
    assert read == list(range(count, 200))
    assert found.files == names


def test_more_than_one_percent_damaged(make_folder):
    folder = read_folder(make_folder({"a": 200}))
    names = damage(folder, 3)
    found = Damage(len(folder.samples))
    with pytest.raises(
        UserError, match=r"3 of 200 images can't be read \(more than 1 %\)"
    ) as error:
        list(iter_pixels(folder, SMALL, found))
    assert names[0] in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_kinds_of_damage(make_folder, content):
    folder = read_folder(make_folder({"a": 100}))
    folder.samples[4].path.write_bytes(content)
    found = Damage(len(folder.samples))
    assert len(list(iter_pixels(folder, SMALL, found))) == 99
    assert found.files == [str(folder.samples[4].path)]


def test_exif_orientation(tmp_path):
    image = picture(48, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    expected = SMALL.pixels(image.transpose(Image.Transpose.ROTATE_270))
    found = load_pixels(tmp_path / "turned.png", SMALL)
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, SMALL.pixels(image))


def test_grey(tmp_path):
    picture().convert("L").save(tmp_path / "grey.jpg")
    found = load_pixels(tmp_path / "grey.jpg", SMALL)
    assert found.shape == (32, 32, 3) and found.dtype == np.uint8
    assert (found == found[..., :1]).all() and found.std() > 5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "CMYK"])
def test_other_modes(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    image = picture().convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    x = SMALL(Image.open(tmp_path / f"a.{suffix}"))
    assert x.shape == (3, 32, 32) and x.dtype == np.float32
    assert np.isfinite(x).all() and x.std() > 0.1


def test_alpha_is_dropped():
    image = picture()
    clear = image.copy()
    clear.putalpha(Image.new("L", image.size, 10))
    assert np.array_equal(SMALL.pixels(clear), SMALL.pixels(image))


@pytest.mark.parametrize("width,height", [(1, 1), (3, 500), (500, 3), (248, 249), (640, 480)])
@pytest.mark.parametrize("size", [192, 224, 256])
def test_any_shape(width, height, size):
    assert Preprocess(size=size).pixels(picture(width, height)).shape == (size, size, 3)


def test_resize_and_centre_crop():
    """Against the steps written out: shorter side to 249, centre 224, (x / 255 - mean) / std."""
    image = picture(640, 480)
    resized = image.resize((332, 249), Image.Resampling.BICUBIC)
    cropped = np.asarray(resized)[12:236, 54:278].astype(np.float64)
    expected = (cropped / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = Preprocess()(image)
    assert np.abs(found - expected.transpose(2, 0, 1)).max() < 1e-5
    other = Preprocess(interpolation="nearest")(image)
    assert np.abs(other - found).max() > 1e-3


def test_a_rectangle_is_covered():
    """Against the steps written out: 0.8 of 200 x 150 covers 160 x 96."""
    image = picture(640, 480)
    spec = Preprocess((96, 160), 0.8)
    resized = np.asarray(image.resize((200, 150), Image.Resampling.BICUBIC))
    assert np.array_equal(spec.pixels(image), resized[27:123, 20:180])
    assert spec(image).shape == spec.shape == (3, 96, 160)
    # An image as large is taken as it is.
    assert np.array_equal(
        replace(spec, crop_fraction=1.0).pixels(picture(160, 96)), picture(160, 96)
    )


def test_an_image_is_stretched():
    image = picture(640, 480)
    whole = np.asarray(image.resize((160, 96), Image.Resampling.BILINEAR))
    spec = Preprocess((96, 160), 1.0, "bilinear", fit="stretch")
    assert np.array_equal(spec.pixels(image), whole)
    margin = np.asarray(image.resize((200, 120), Image.Resampling.BILINEAR))
    assert np.array_equal(replace(spec, crop_fraction=0.8).pixels(image), margin[12:108, 20:180])


@pytest.mark.parametrize("size,fit", [(192, "crop"), ((96, 160), "crop"), (64, "stretch")])
def test_preprocess_round_trip(size, fit):
    spec = Preprocess(size, crop_fraction=0.95, fit=fit)
    values = json.loads(json.dumps(spec.to_dict()))
    assert Preprocess.from_dict(values) == spec
    # As it was written before there were rectangles.
    assert ("fit" in values) == (fit != "crop") and isinstance(values["size"], int | list)


def test_preprocess_errors():
    assert Preprocess((64, 64)) == Preprocess(64) and Preprocess((64, 64)).size == 64
    with pytest.raises(UserError, match="'sise'"):
        Preprocess.from_dict({"sise": 224})
    for wrong in (
        {"size": 15}, {"size": (64, 15)}, {"size": (64, 64, 64)}, {"size": ()},
        {"crop_fraction": 0}, {"interpolation": "lanczos"}, {"fit": "fill"},
    ):  # fmt: skip
        with pytest.raises(UserError):
            Preprocess(**wrong)


def test_real_images(data_dir):
    folder = read_folder(DataSet(data_dir).folder("val"), num_classes=1000)
    assert set(folder.classes) == set(IMAGENETTE)
    assert {s.path.parent.name: s.target for s in folder.samples} == IMAGENETTE
    few = folder.spread(20)
    found = Damage(len(few.samples))
    images = [pixels for _, pixels in iter_pixels(few, Preprocess(), found)]
    assert len(images) == 20 and not found.files
    x = Preprocess().normalize(np.stack(images))
    assert x.shape == (20, 3, 224, 224)
    assert abs(x.mean()) < 0.5 and 0.8 < x.std() < 1.4  # what the statistics are for


def test_the_least_size_is_that_of_the_option():
    assert ranges.SIDE.low == LEAST_SIZE
