"""What `import mobilemod` offers, on tiny bundles; docs/python.md and the README say the same."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mobilemod
from mobilemod.errors import UserError
from mobilemod.manifest import load_bundle
from mobilemod.tasks import get_task
from tests.commands import ROOT
from tests.manifests import read_manifest, resign
from tests.tiny_bundle import IDS, draw_data, make_bundle
from tests.tiny_maps import MAP, SIDES, draw_scenes, make_maps_bundle
from tests.whole_bundle import make_whole_bundle

INT8, FLOAT = "tiny_int8.tflite", "tiny_float32.tflite"
CALLS = ("export", "validate", "inspect", "load", "card", "compare")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("classes") / "tiny")


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> Path:
    return make_maps_bundle(tmp_path_factory.mktemp("maps") / "maps")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Ten, one of each class."""
    return sorted(draw_data(tmp_path_factory.mktemp("data"), 1).rglob("*.png"))


# -- the names


def test_every_name_is_there_and_typed():
    """By what is written for type checkers, and by what comes."""
    assert sorted(mobilemod.__all__) == sorted({*mobilemod._API, "create_model", "__version__"})
    assert set(mobilemod.__all__) <= set(dir(mobilemod))
    tree = ast.parse(Path(mobilemod.__file__).read_text("utf-8"))
    written = {
        alias.name: node.module
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names if alias.asname == alias.name
    }  # fmt: skip
    assert written == mobilemod._API
    for name in mobilemod._API:
        value = getattr(mobilemod, name)
        assert value.__name__ == name and inspect.getdoc(value)
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        mobilemod.exprot  # noqa: B018
    for package in ("mobilemod", "quantization", "export"):
        assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("name", CALLS)
def test_a_function_says_what_each_argument_is(name):
    function = getattr(mobilemod, name)
    signature = inspect.signature(function)
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    assert signature.return_annotation is not inspect.Signature.empty
    said = inspect.getdoc(function)
    assert [p for p in signature.parameters if not re.search(rf"\b{p}\b", said)] == []
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    shown = re.search(rf"^mobilemod\.{name}\((.*?)\)$", page, re.M | re.S)
    assert shown, name
    assert re.findall(r"(\w+)(?:=[^,]*)?(?:,|$)", shown[1]) == list(signature.parameters)


def test_what_comes_back_is_described_field_by_field():
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    for name in ("Exported", "Validation", "Prediction", "Model"):
        kind = getattr(mobilemod, name)
        public = [n for n, v in vars(kind).items() if isinstance(v, property)]
        public += kind.__dataclass_fields__
        missing = [n for n in public if not re.search(rf"`{n}\b", page)]
        assert missing == [], name


def readme_lines() -> list[str]:
    """The code of its section on Python, without empty lines."""
    text = (ROOT / "README.md").read_text("utf-8")
    code = re.search(r"^## From Python\n.*?```python\n(.*?)```", text, re.M | re.S)
    assert code, "README.md has no code in its section 'From Python'"
    return [line for line in code[1].splitlines() if line]


# -- load and predict


def test_a_bundle_answers_by_the_file_that_serves_here(bundle, pictures):
    model = mobilemod.load(bundle)
    assert model.file.file in (INT8, FLOAT) and model.labels == IDS
    found = model.predict(pictures[0])
    assert found.file == model.file.file and found.milliseconds > 0
    assert (found.index, found.label) == (found.classes[0].index, IDS[found.index])
    assert found.score == found.outputs.max() and len(found.classes) == 5
    logits = found.outputs.astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum()
    assert found.probability == pytest.approx(softmax.max())
    assert len(model.predict(pictures[0], top=3).classes) == 3
    every = model.predict(pictures[0], top=100).classes
    assert sorted(c.index for c in every) == list(range(10))
    assert sum(c.share for c in every) == pytest.approx(1)
    with pytest.raises(UserError, match="gives an answer for the image, no map"):
        found.map  # noqa: B018


def test_the_answer_is_the_same_however_an_image_is_given(bundle, pictures):
    model = mobilemod.load(bundle, file=INT8)
    with Image.open(pictures[1]) as image:
        pixels = np.asarray(image.convert("RGB"))
        given = [pictures[1], str(pictures[1]), pixels, image.copy(), Image.fromarray(pixels)]
    found = model.predict(given)
    assert len(found) == len(given)
    for one in found[1:]:
        assert np.array_equal(one.outputs, found[0].outputs)
    assert model.predict([]) == []


def test_the_answer_is_that_of_the_golden_images(bundle, maps):
    for folder in (bundle, maps):
        loaded = load_bundle(folder)
        for entry in loaded.manifest.files:
            model = mobilemod.load(folder / entry.file)
            for golden in loaded.manifest.golden:
                with Image.open(folder / golden.image) as image:
                    found = model.answer(np.asarray(image))
                expected = loaded.manifest.answers(golden)[entry.file]
                if loaded.task.maps:
                    assert found.to_dict()["runs"] == expected
                else:
                    assert np.allclose(found.outputs, expected, atol=1e-5)


@pytest.mark.parametrize(
    "picture,line",
    [
        (np.zeros((8, 8), np.uint8), r"array of uint8 \(8, 8\): give uint8 \(height, width, 3\)"),
        (np.zeros((8, 8, 3), np.float32), "array of float32"),
        (np.zeros((0, 8, 3), np.uint8), "holds no pixel"),
        (7, "a int is no image"),
        ("nowhere.jpg", "nowhere.jpg: no such file or directory"),
    ],
)
def test_what_is_no_image_is_refused(bundle, picture, line):
    with pytest.raises(UserError, match=line):
        mobilemod.load(bundle).predict(picture)


def test_a_map_has_its_classes_with_shares(maps, tmp_path):
    model = mobilemod.load(maps, file="maps_int8.tflite")
    scene = sorted((draw_scenes(tmp_path, 1) / "val/images").iterdir())[0]
    found = model.predict(scene)
    assert found.map.dtype == np.uint8 and found.map.shape == MAP
    assert {c.index for c in found.classes} == set(np.unique(found.map))
    for c in found.classes:
        assert c.score == (found.map == c.index).sum()
        assert c.share == c.score / found.map.size
    shares = [c.share for c in found.classes]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    assert found.overlay.size == SIDES[::-1] and found.overlay.mode == "RGB"
    # Half of the class's colour, half of the pixel: pixels of one class and colour look alike.
    from mobilemod.tasks.segmentation.picture import colour

    black = model.predict(np.zeros((*SIDES, 3), np.uint8))
    (only,) = black.classes
    half = [(value + 1) // 2 for value in colour(only.index)]
    assert black.overlay.getpixel((5, 5)) == tuple(half)


def test_outputs_that_are_not_finite_are_no_answer(bundle, pictures):
    model = mobilemod.load(bundle)
    nothing = np.full(10, np.nan, np.float32)
    broken = mobilemod.Model(
        model.bundle, model.file, type(model.runner)("none", lambda _: nothing)
    )
    with pytest.raises(UserError, match="its outputs on this image aren't finite"):
        broken.predict(pictures[0])


def test_a_task_without_classes_gives_its_numbers():
    """The defaults of a task."""
    from mobilemod.tasks.task import Metric, Task

    task = Task("toy", (Metric("error", "error"),))
    (found,) = task.shares(np.array([3.5], np.float32), ["brightness"])
    assert found.to_dict() == {"index": 0, "label": "brightness", "score": 3.5, "share": None}
    assert task.drawn(np.zeros((4, 4, 3), np.uint8), np.array([3.5])) is None


def test_what_can_not_be_loaded_is_one_line(bundle, tmp_path):
    lone = tmp_path / INT8
    lone.write_bytes((bundle / INT8).read_bytes())
    cases = [
        ((tmp_path / "no.tflite",), {}, "no such model file or bundle"),
        ((lone,), {}, "lies in no bundle, whose manifest says"),
        ((tmp_path,), {}, "is no bundle: it has no manifest.json"),
        ((bundle,), {"file": "tiny_int9.tflite"}, "did you mean 'tiny_int8.tflite'"),
        ((bundle / INT8,), {"file": FLOAT}, "is a model file"),
        ((bundle,), {"threads": 0}, "threads must be a whole number"),
    ]
    for arguments, more, line in cases:
        with pytest.raises(UserError, match=line):
            mobilemod.load(*arguments, **more)
    with pytest.raises(UserError, match="top must be a whole number from 1"):
        mobilemod.load(bundle).predict([], top=0)


def test_a_changed_file_is_not_run(tmp_path):
    folder = make_bundle(tmp_path / "tiny")
    data = bytearray((folder / INT8).read_bytes())
    data[-9] ^= 1
    (folder / INT8).write_bytes(data)
    with pytest.raises(UserError, match="is not the file of its manifest"):
        mobilemod.load(folder, file=INT8)


def test_a_file_of_another_network_is_not_taken(tmp_path):
    """Its manifest names another number of outputs."""
    folder = make_bundle(tmp_path / "tiny")
    values = read_manifest(folder)
    values["labels"], values["num_classes"] = values["labels"][:4], 4
    for golden in values["golden"]:
        golden["logits"] = {name: answer[:4] for name, answer in golden["logits"].items()}
    resign(folder, values)
    with pytest.raises(UserError, match=r"numbers of shape \(10,\), its manifest names 4 outputs"):
        mobilemod.load(folder)


def test_the_best_file_is_the_one_advised_for_the_processor(bundle):
    from export.predicting.host import best_file, place_of_host

    assert place_of_host("x86_64", "fpu avx2 avx_vnni") == "x86-vnni"
    assert place_of_host("AMD64", "fpu avx2") == "x86"
    assert place_of_host("aarch64", "fp asimd asimddp") == "android-dot"
    if sys.platform != "darwin":
        assert place_of_host("aarch64", "fp asimd") == "android-old"
    loaded = load_bundle(bundle)
    # As docs/advice.md: int8 pays on x86 with VNNI alone.
    assert best_file(loaded, "x86").file == FLOAT
    assert best_file(loaded, "x86-vnni").file == best_file(loaded, "android-old").file == INT8


# -- inspect and export


def test_inspect_is_the_record_of_the_verb(bundle, here):
    found = mobilemod.inspect(bundle / INT8)
    record = json.loads(here("inspect", bundle / INT8, "--json", "-").stdout)
    assert record["files"] == [json.loads(json.dumps(found.to_dict()))]
    with pytest.raises(UserError, match="no such model file"):
        mobilemod.inspect(bundle / "none.tflite")


@pytest.mark.parametrize(
    "given,line",
    [
        ({"model": "efficientmod-xxs"}, "did you mean 'efficientmod_xxs'"),
        ({"mean": (0, 0, 0)}, "--mean goes with --network"),
        ({"size": (64, 96)}, "rectangles go with --network"),
        ({"classes": "sorted"}, "--classes goes with --data"),
        ({"targets": "tflight"}, "did you mean 'tflite'"),
        ({"targets": []}, "no target given"),
        ({"network": 7}, "network is a int; give a torch.nn.Module"),
        ({"network": "a:b", "model": "efficientmod_xxs"}, "both say which network"),
    ],
)
def test_what_can_not_be_exported_is_one_line(tmp_path, given, line):
    with pytest.raises(UserError, match=line):
        mobilemod.export(tmp_path / "out", **given)
    assert not list(tmp_path.iterdir())


def test_a_module_in_memory_is_taken_as_it_is():
    from torch import nn

    from export.api.opening import open_network

    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    opened = open_network(module, None, None, size=32, labels=("a", "b", "c", "d"))
    assert [n["label"] for n in opened.labels] == ["a", "b", "c", "d"]
    assert opened.num_classes == 4 and opened.preprocess.size == 32
    assert module.training and all(p.requires_grad for p in module.parameters())
    with pytest.raises(UserError, match="labels has 1 names for 4 outputs"):
        open_network(module, None, None, size=32, labels=("a",))
    with pytest.raises(UserError, match="--checkpoint doesn't go with a module"):
        open_network(module, None, Path("x"), size=32)


# -- the command line is the same


def test_predict_prints_what_the_api_gives(bundle, pictures, here):
    done = here("predict", bundle, *pictures, "--all", "--json", "-")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    files = [f["file"] for f in record["files"]]
    assert files == [INT8, FLOAT] and len(record["images"]) == 10
    for file in files:
        model = mobilemod.load(bundle / file)
        for picture, entry in zip(pictures, record["images"], strict=True):
            told = entry["answers"][files.index(file)]
            expected = json.loads(json.dumps(model.predict(picture).to_dict()))
            assert {**told, "milliseconds": 0} == {**expected, "milliseconds": 0}
    for entry in record["images"]:
        first, second = (answer["classes"][0]["index"] for answer in entry["answers"])
        assert entry["same"] == (first == second)
        assert entry[get_task("classification").agreement.key] == [100.0 * entry["same"]]
    text = here("predict", bundle / INT8, pictures[0].parent, "--top", "2").stdout
    assert f"{IDS[record['images'][0]['answers'][0]['classes'][1]['index']]} " in text
    assert "tflite float32" not in text


def test_a_broken_image_has_its_line_and_the_rest_go_on(bundle, pictures, here, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x" * 40)
    done = here("predict", bundle, bad, pictures[0], tmp_path / "no.png", "--files", INT8)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("mobilemod: error: ") for line in lines)
    assert f"{bad}: no image" in lines[0] and "no.png: no such file" in lines[1]
    assert str(pictures[0]) in done.stdout and "bad.jpg" not in done.stdout
    done = here("predict", bundle, bad, "--json", "-")
    record = json.loads(done.stdout)
    assert done.returncode == 2 and record["images"] == [] and len(record["errors"]) == 1


def test_maps_are_drawn_over_their_images(maps, here, tmp_path):
    scenes = draw_scenes(tmp_path / "data", 2) / "val" / "images"
    out = tmp_path / "pictures"
    done = here("predict", maps, scenes, "--all", "--out", out, "--json", "-")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    named = [Path(p) for entry in record["images"] for p in entry["pictures"]]
    assert sorted(named) == sorted(out.iterdir()) and len(named) == 4
    model = mobilemod.load(maps, file="maps_int8.tflite")
    with Image.open(out / "0001-0-maps_int8.tflite.png") as image:
        expected = model.predict(scenes / "0.png").overlay
        assert np.array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize(
    "words,line",
    [
        (("{bundle}", "{image}", "--out", "{new}"), "--out is for pictures of maps"),
        (("{file}", "{image}", "--files", INT8), "--files names files of a bundle's folder"),
        (("{bundle}", "{image}", "--files", "x.tflite"), "unknown model file 'x.tflite'"),
        (("{bundle}", "{image}", "--top", "0"), "from 1 to 100,000 classes"),
        (("{bundle}", "{empty}"), "holds no images"),
        (("{image}", "{image}"), "lies in no bundle"),
    ],
)
def test_what_can_not_be_predicted_is_one_line(bundle, pictures, here, tmp_path, words, line):
    (tmp_path / "empty").mkdir()
    places = {
        "{bundle}": bundle, "{file}": bundle / INT8, "{image}": pictures[0],
        "{new}": tmp_path / "new", "{empty}": tmp_path / "empty",
    }  # fmt: skip
    done = here("predict", *(places.get(word, word) for word in words))
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert line in done.stderr
    assert not (tmp_path / "new").exists()


# -- the README


@pytest.fixture(scope="module")
def ran(narrow_model, tmp_path_factory) -> tuple[Path, str]:
    """The README's lines, run on a tiny bundle in place of the export's, and what they printed."""
    folder = tmp_path_factory.mktemp("readme")
    make_whole_bundle(folder / "dist" / "efficientmod_xxs", narrow_model)
    picture = sorted(draw_data(folder / "data/imagenette/imagenette2-320", 1).rglob("*.png"))[0]
    with Image.open(picture) as image:
        image.save(folder / "photo.jpg")
    lines = readme_lines()
    assert len(lines) == 8 and sum("mobilemod.export(" in line for line in lines) == 1
    script = folder / "lines.py"
    script.write_text("\n".join(line for line in lines if "mobilemod.export(" not in line))
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MOBILEMOD_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_lines_of_the_readme_run(ran):
    folder, printed = ran
    first, second, third = printed.splitlines()
    assert first.startswith("Drop(points=") and first.endswith(("pass", "fail", "undecided"))
    found = mobilemod.load(folder / "dist/efficientmod_xxs").predict(folder / "photo.jpg")
    label, probability, _ = second.split()
    assert (label, float(probability)) == (found.label, pytest.approx(found.probability))
    assert 0 <= float(third) <= 1


def test_answers_are_those_of_the_validation_record(ran):
    """Of ten pictures, a class each: which were right, and what was said where files differ."""
    folder, _ = ran
    bundle = folder / "dist" / "efficientmod_xxs"
    record = json.loads((bundle / "report" / "validation.json").read_text("utf-8"))
    root = folder / "data/imagenette/imagenette2-320/val"
    pictures = {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*.png"))}
    assert record["data"]["images"] == len(pictures) == 10
    differing = record["disagreements"]
    assert len(differing) > 3
    for place, measured in enumerate(record["predictions"]):
        if measured["file"] is None:
            continue
        model = mobilemod.load(bundle / measured["file"])
        answers = {name: model.predict(picture).index for name, picture in pictures.items()}
        right = [answers[name] == IDS.index(name.partition("/")[0]) for name in sorted(pictures)]
        assert [row["top1_percent"][place] for row in record["per_class"]] == \
            [100.0 * r for r in right]  # fmt: skip
        assert {d["image"]: d["top1"][place] for d in differing} == \
            {d["image"]: answers[d["image"]] for d in differing}  # fmt: skip


def test_a_record_is_typed_as_it_stands(ran):
    from mobilemod.evaluation.accuracy import Drop

    folder, _ = ran
    path = folder / "dist/efficientmod_xxs/report/validation.json"
    record = json.loads(path.read_text("utf-8"))
    found = mobilemod.Validation.of(record, path)
    assert [m.to_dict() for m in found.models] == record["predictions"]
    task = get_task("classification")
    assert [p.to_dict(task) for p in found.pairs] == record["agreement"]
    assert [v.to_dict() for v in found.gates] == record["verdicts"]
    assert (found.measured, found.images) == (True, 10)
    (int8,) = (m for m in found.models if m.role == "int8")
    assert found.model(INT8) == int8 and found.drop == int8.drop
    assert found.interval == (int8.drop.low, int8.drop.high) and isinstance(found.drop, Drop)
    assert found.agreement is None  # a single int8 file
    assert found.passed == (found.state == "pass") == all(v["passed"] for v in record["verdicts"])
    with pytest.raises(KeyError):
        found.model("none")


def test_a_validation_without_images_passes_nothing(bundle, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(bundle, folder)
    found = mobilemod.validate(folder, audit_only=True)
    assert not found.measured and not found.passed and found.state == "pass"
    assert found.report.is_file() and found.drop is found.interval is found.agreement is None
    for given, line in (
        ({}, "no images to measure on"),
        ({"audit_only": True, "gpu": True}, "--gpu needs images"),
        ({"data": tmp_path, "limit": 0}, "limit must be a whole number from 1"),
        ({"data": tmp_path, "max_drop": -1}, "max_drop must be a number from 0"),
        ({"split": "val"}, "--split goes with --data"),
    ):
        with pytest.raises(UserError, match=line):
            mobilemod.validate(folder, **given)
