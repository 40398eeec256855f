"""What a verb measures against is what was exported, and what it caches is of what it read.

On a small bundle with all parts: a narrow network with prepared weights, and two tiny model files.
"""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.bundle_parts import FORM_FILE, REFERENCE_FILE, BundleKey, OpenedBundle
from export.measure.batches import answer
from export.measure.search_costs import measured_profiles
from export.measure.sensitivity import SensitivityConfig, get_ready, make_setup
from export.measure.validation import Candidate, run_chunk, validate_bundle
from export.targets.base import FORMS
from export.verbs.main import main
from mobilemod.data.imagefolder import ImageFolder, read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.mobile_ops import PLAIN_FORM
from mobilemod.manifest import FILE_NAME, load_bundle
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.results.gates import Gates
from mobilemod.sealed import sealed
from quantization.calibration import weights_digest
from quantization.prepare.prepared import CALIBRATION_FILE, WEIGHTS_FILE
from quantization.program import quantize
from tests.manifests import accept, checkpoint, read_manifest, resign
from tests.tiny_bundle import IDS, SIZE
from tests.whole_bundle import TABLE, make_whole_bundle

FLOAT = Candidate("torch float", "reference")
TFLITE = "tiny_int8.tflite"
PARTS = (
    FORM_FILE, REFERENCE_FILE, WEIGHTS_FILE, CALIBRATION_FILE, TABLE, "recipe.json", "labels.txt",
    "golden/0.png", TFLITE,
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> ImageFolder:
    """`val/` with one small picture in each class."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(8)
    for split in ("train", "val"):
        for name in IDS:
            (root / split / name).mkdir(parents=True)
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
            picture = coarse.resize((40, 40), Image.Resampling.BICUBIC)
            picture.save(root / split / name / "a.png")
    return read_folder(root / "val", IDS)


@pytest.fixture(scope="module")
def source(narrow_model, tmp_path_factory) -> Path:
    return make_whole_bundle(tmp_path_factory.mktemp("bundles") / "narrow", narrow_model)


@pytest.fixture
def folder(source, tmp_path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "bundle"))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def damage(path: Path) -> None:
    """Another byte of content: sizes and headers stay."""
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def another_reference(folder: Path, factor: float = 2.0) -> str:
    """A float network of another training in the first one's place; its weights' digest."""
    state = OpenedBundle(load_bundle(folder)).canonical.state()
    state = {k: v * factor for k, v in state.items()}
    save_checkpoint(folder / REFERENCE_FILE, state, {}, torch.float32)
    return weights_digest(state)


def refused(capsys, arguments: list[str], *expected: str) -> None:
    """Exit 2 with one line that holds each of `expected`."""
    capsys.readouterr()
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    for text in expected:
        assert text in err


QUANTIZED = {FORM_FILE, REFERENCE_FILE, WEIGHTS_FILE, CALIBRATION_FILE, TABLE}
# Verb -> which of the bundle's files it reads.
VERBS = {
    "validate BUNDLE --data DATA": set(PARTS),
    "validate BUNDLE --data DATA --device host": set(PARTS),
    "harness serve BUNDLE --port 0": set(PARTS),
    "stress BUNDLE --data DATA": set(PARTS),
    "apps BUNDLE --apps web": set(PARTS),
    "bench BUNDLE --device host": set(PARTS),
    "sensitivity BUNDLE --data DATA": QUANTIZED | {"recipe.json"},
    "sensitivity BUNDLE --data DATA --recipe npu": QUANTIZED - {TABLE},
    "search BUNDLE --data DATA --cost macs": {FORM_FILE, REFERENCE_FILE, "recipe.json"},
    "diff FILE program --image IMAGE": {TFLITE},
    "inspect FILE": {TABLE},
    "profile FILE": {TABLE},
    "report BUNDLE": set(),
}


def spelled(verb: str, folder: Path, images: ImageFolder) -> list[str]:
    """A verb's arguments with the places filled in."""
    places = {
        "BUNDLE": folder,
        "DATA": images.root.parent,
        "FILE": folder / TFLITE,
        "IMAGE": images.samples[0].path,
    }
    return [str(places.get(word, word)) for word in verb.split()]


@pytest.mark.parametrize("verb,name", [(v, n) for v, read in VERBS.items() for n in sorted(read)])
def test_a_changed_file_is_refused_by_what_reads_it(folder, images, cache, capsys, verb, name):
    damage(folder / name)
    before = (folder / FILE_NAME).read_bytes()
    refused(
        capsys,
        spelled(verb, folder, images),
        f"{name} is not the file of its manifest (sha256 differs)",
    )
    assert not list(cache.rglob("*.np*")) and not (folder / "report").exists()
    assert (folder / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_changed_manifest_is_refused_by_every_verb(folder, images, cache, capsys, verb):
    values = read_manifest(folder)
    values["labels"][0]["label"] = "shark"
    (folder / FILE_NAME).write_text(json.dumps(values), "utf-8")
    refused(capsys, spelled(verb, folder, images), f"{FILE_NAME} was changed after it was written")
    assert not cache.exists()


def run(key: BundleKey, images: ImageFolder, candidate: Candidate) -> np.ndarray:
    """The candidate's logits on all of `images`, as a worker computes them."""
    work = functools.partial(run_chunk, key, [candidate])
    return answer(work, None, images, 0, Preprocess(SIZE)).value[candidate.name][0]


def test_a_reference_signed_anew_must_still_be_that_of_the_checkpoint(folder, images, cache):
    another_reference(folder)
    accept(folder, REFERENCE_FILE)
    bundle = load_bundle(folder)
    with pytest.raises(UserError, match=r"reference\.safetensors is not the network of its manif"):
        run(BundleKey.of(bundle), images, FLOAT)
    assert not cache.exists()


def test_the_parts_of_a_bundle_fit_each_other_and_are_read_once(folder):
    opened = OpenedBundle(load_bundle(folder))
    weights = weights_digest(opened.quantized_canonical.state())
    assert weights_digest(opened.canonical.state()) != weights == opened.calibration.weights
    assert opened.forms == ["xnnpack"] and opened.recipe.calibration_images == 4
    assert opened.calibrated_on == ()
    x = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    table = opened.table("xnnpack")
    form = opened.quantized_canonical.form(FORMS["xnnpack"])
    with torch.no_grad():
        answers = opened.program("xnnpack")(x)
        assert torch.equal(answers, quantize(form, table, True)(x))
        plain = opened.quantized_canonical.form(PLAIN_FORM)
        for quantized, network in ((True, plain), (False, opened.reference)):
            mobile = opened.mobile("xnnpack", quantized)
            assert torch.allclose(mobile(x), network(x), atol=1e-4)
    for name in PARTS:
        damage(folder / name)
    assert opened.table("xnnpack") is table and torch.equal(opened.program("xnnpack")(x), answers)
    with pytest.raises(UserError, match="is not the file of its manifest"):
        OpenedBundle(opened.bundle).table("xnnpack")


def test_prepared_weights_must_be_the_references(folder, images, cache):
    weights = another_reference(folder)
    accept(folder, REFERENCE_FILE)
    resign(folder, {**read_manifest(folder), "checkpoint": checkpoint(weights)})
    bundle = load_bundle(folder)
    program = Candidate("quantized program", "program", form="xnnpack")
    with pytest.raises(UserError, match="prepared from other weights than reference.safetensors"):
        run(BundleKey.of(bundle), images, program)


@pytest.mark.parametrize("first", ["own", "other"])
def test_no_bundle_gets_the_cached_answers_of_another(source, images, cache, tmp_path, first):
    """The same but for the float network, whichever is measured first; the cache is one."""
    own, other = (Path(shutil.copytree(source, tmp_path / name)) for name in ("own", "other"))
    weights = another_reference(other)
    accept(other, REFERENCE_FILE)
    resign(other, {**read_manifest(other), "checkpoint": checkpoint(weights)})
    found = {}
    for folder in (own, other) if first == "own" else (other, own):
        bundle = load_bundle(folder)
        for again in (False, True):
            logits = run(BundleKey.of(bundle), images, FLOAT)
            x = bundle.preprocess.normalize(
                np.stack([pixels(bundle, s.path) for s in images.samples])
            )
            with torch.no_grad():
                expected = OpenedBundle(bundle).reference(torch.from_numpy(x)).numpy()
            assert np.allclose(logits, expected, atol=1e-4), again
        found[folder.name] = logits
    assert np.abs(found["own"] - found["other"]).max() > 0.1
    assert len(list(cache.rglob("*.npy"))) == 2


def pixels(bundle, path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return bundle.preprocess.pixels(image)


def test_a_worker_reads_the_bundle_that_was_checked(folder, images, cache):
    """What changes after the first look is found by the worker, before anything is cached."""
    bundle = load_bundle(folder)
    damage(folder / TFLITE)
    file = Candidate("tflite int8", "int8", TFLITE, "tflite")
    with pytest.raises(UserError, match="tiny_int8.tflite is not the file of its manifest"):
        run(BundleKey.of(bundle), images, file)
    with pytest.raises(UserError, match="became another bundle while it was measured"):
        run(BundleKey(folder, "0" * 64), images, file)
    assert not cache.exists()


def test_sensitivity_is_of_the_weights_that_were_read(source, folder, images):
    """A bundle of the same name and place that was exported anew is measured anew."""
    config = SensitivityConfig(folder, images.root.parent)
    first = get_ready(make_setup(config))
    shutil.rmtree(folder)
    shutil.copytree(source, folder)
    assert get_ready(make_setup(config)).digest == first.digest
    weights = another_reference(folder, 1.5)
    accept(folder, REFERENCE_FILE)
    values = {**read_manifest(folder), "checkpoint": checkpoint(weights)}
    values["parts"] = [e for e in values["parts"] if e["file"] != WEIGHTS_FILE]
    resign(folder, values)
    assert get_ready(make_setup(config)).digest != first.digest


def test_profiles_are_of_the_names_that_were_read(source, folder, cache, tmp_path):
    """Modules are named by the bundle's table: with another one the profile is taken anew."""
    (tmp_path / "other").mkdir()
    for place, name in ((folder, "layers"), (tmp_path / "other" / "bundle", "stages")):
        if not place.exists():
            shutil.copytree(source, place)
        table = place / TABLE
        table.write_text(table.read_text("utf-8").replace('"layers.', f'"{name}.'), "utf-8")
        accept(place, TABLE)
        measured_profiles(load_bundle(place), "tflite")
    assert len(list(cache.rglob("profiles/*.json"))) == 4


def test_the_report_is_of_this_bundle_and_as_it_was_written(source, folder, capsys):
    validate_bundle(folder, None, Gates())
    path, place = folder / "report" / "validation.json", str(folder)
    assert main(["report", place]) == 0
    text = path.read_text("utf-8")
    record = json.loads(text)
    path.write_text(json.dumps({**record, "measured": True}), "utf-8")
    refused(capsys, ["report", place], "validation.json was changed after it was written")
    path.write_text(text[:-20], "utf-8")
    refused(capsys, ["report", place], "validation.json is damaged")
    path.write_text(json.dumps(sealed({**record, "measured": None})), "utf-8")
    refused(capsys, ["report", place], "record: measured: input should be a valid boolean")
    record["bundle"]["manifest"] = "0" * 64
    path.write_text(json.dumps(sealed(record)), "utf-8")
    refused(capsys, ["report", place], "is the record of another bundle")
    path.write_text(text, "utf-8")
    assert main(["report", place]) == 0
