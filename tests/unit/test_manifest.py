"""The manifest: what it may hold, what it is checked by, and the files that it stands for."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path

import pytest

from export.verbs.main import main
from mobilemod.errors import UserError
from mobilemod.files import file_sha256
from mobilemod.manifest import (
    FILE_NAME,
    MAX_BYTES,
    bundle_around,
    load_bundle,
    record_accuracy,
    seal_bundle,
    write_manifest,
)
from mobilemod.manifest_schema import check_labels
from mobilemod.sealed import read_sealed, sealed
from tests.manifests import read_manifest, resign
from tests.tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("source") / "tiny")


@pytest.fixture
def folder(source, tmp_path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "bundle"))


def says(folder: Path, verify: bool = True) -> str:
    """The one line that a bundle is refused with."""
    with pytest.raises(UserError) as error:
        load_bundle(folder, verify)
    text = str(error.value)
    assert "\n" not in text and str(folder) in text
    return text


def put(values: dict, path: str, value: object) -> None:
    """Set a value by its path, such as "files.0.bytes"; Ellipsis removes it."""
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".", 3)]
    for key in parents:
        values = values[key]
    if value is ...:
        del values[last]
    else:
        values[last] = value


def test_everything_that_is_read_is_named_with_hash_and_size(source):
    bundle = load_bundle(source)
    there = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    assert set(bundle.hashes) == there - {FILE_NAME}
    for name, (sha256, size) in bundle.hashes.items():
        assert (sha256, size) == (file_sha256(source / name), (source / name).stat().st_size)


@pytest.mark.parametrize(
    "path,value,expected",
    [
        ("files", None, "files: input should be a valid list, not None"),
        ("files", {}, "files: input should be a valid list"),
        ("files.0", None, "files[0]: input should be"),
        ("files.0.bytes", "4868", "files[0].bytes: input should be a valid integer, not '4868'"),
        ("files.1.bytes", -1, "files[1].bytes: input should be greater than or equal to 0"),
        ("files.0.bytes", 10**400, "files[0].bytes: "),
        ("files.0.bytes", True, "files[0].bytes: "),
        ("files.0.audit", ..., "files[0].audit is missing"),
        ("files.0.audit.macs", None, "files[0].audit.macs: "),
        ("files.0.audit.outside", {"conv": -1}, "files[0].audit.outside.conv: "),
        ("files.0.audit.int8_share", 1.1, "files[0].audit.int8_share: "),
        ("files.0.sha256", "x" * 64, "files[0].sha256: "),
        ("files.0.sha256", "A" * 64, "files[0].sha256: "),
        ("files.0.target", "onnx", "files[0].target: "),
        ("files.0.precision", 8, "files[0].precision: "),
        ("files.0.file", "../x.tflite", "files[0].file: must be a path inside the bundle"),
        ("files.0.file", "/etc/passwd", "files[0].file: must be a path inside the bundle"),
        ("files.0.file", "a\\..\\x", "files[0].file: must be a path inside the bundle"),
        ("files.0.file", "a\0b", "files[0].file: must be a path inside the bundle"),
        ("files.0.file", "", "files[0].file: must be a path inside the bundle"),
        ("files.0.file", "manifest.json", "files[0].file: must not be the manifest itself"),
        ("files.0.file", "tiny_float32.tflite", "'tiny_float32.tflite' stands there twice"),
        ("files.0.file", "LABELS.txt", "'labels.txt' stands there twice"),
        ("golden.0.image", "golden/../x.png", "golden[0].image: must be a path inside the bundle"),
        ("golden.0.logits", [], "golden[0].logits: input should be a valid dictionary"),
        ("golden.0.logits", {"a": [0.5]}, "golden[0].logits.a: 1 values for 10 classes"),
        ("golden.1.logits", {"a": [0] * 10}, "golden[1].logits: lacks those of tiny_int8.tflite"),
        ("golden.0.logits", {"a": [None] * 10}, "golden[0].logits.a[0]: "),
        ("golden.0.target", 10, "golden[0].target: 10 of 10 classes"),
        ("parts", ..., "parts is missing"),
        ("preprocess.mean", [0.5], "preprocess.mean: list should have at least 3 items"),
        ("preprocess.mean", 0.5, "preprocess.mean: input should be a valid list, not 0.5"),
        ("preprocess.std", [0.2, 0, 0.2], "preprocess.std[1]: "),
        ("preprocess.std", [0.2, 1e-300, 0.2], "preprocess.std[1]: "),
        ("preprocess.size", "224", "preprocess.size: "),
        ("preprocess.size", 15, "preprocess.size: "),
        ("preprocess.size", 2**40, "preprocess.size: "),
        ("preprocess.size", ..., "preprocess.size is missing"),
        ("preprocess.size", [64, 15], "preprocess.size: must be a whole number from 16 to 1,024"),
        ("preprocess.size", [64], "preprocess.size: must be "),
        ("preprocess.size", [64, 96, 3], "preprocess.size: must be "),
        ("preprocess.size", [64, 96.0], "preprocess.size: must be "),
        ("preprocess.size", [64, True], "preprocess.size: must be "),
        ("preprocess.size", {"height": 64}, "preprocess.size: must be "),
        ("preprocess.fit", "fill", "preprocess.fit: "),
        ("preprocess.fit", None, "preprocess.fit: "),
        ("preprocess.crop_fraction", 0, "preprocess.crop_fraction: "),
        ("preprocess.interpolation", "area", "preprocess.interpolation: "),
        ("preprocess.layout", "NHWC", "preprocess.layout: "),
        ("preprocess.gamma", 2.2, "preprocess.gamma is not a key of it"),
        ("num_classes", 9, "labels: 10 for 9 classes"),
        ("num_classes", 0, "num_classes: "),
        ("answer", "classes", "answer: classes without a map"),
        ("answer", "class", "answer: "),
        ("labels", "tench", "labels: "),
        ("labels.1", "tench", "labels[1]: "),
        ("labels.1.id", "n01440764", "labels: 'n01440764' stands there twice"),
        ("labels.1.label", "a\nb", "labels[1].label: must hold no control characters"),
        ("model", None, "model: "),
        ("model", "x" * 300, "model: "),
        ("recipe", "cpu", "recipe: "),
        ("recipe.file", "/recipe.json", "recipe.file: "),
        ("checkpoint.weights", ..., "checkpoint.weights is missing"),
        ("calibration.images", 2.5, "calibration.images: "),
        ("tools", {"torch": 2}, "tools.torch: "),
        ("accuracy", [], "accuracy: "),
        ("schema", "mobilemod/manifest/2", "has schema 'mobilemod/manifest/2'"),
    ],
)  # fmt: skip
def test_a_wrong_shape_is_one_line_with_its_path(folder, path, value, expected):
    values = read_manifest(folder)
    put(values, path, value)
    resign(folder, values)
    assert expected in says(folder)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("", "is damaged"),
        ("[]", "is no JSON object"),
        ("null", "is no JSON object"),
        ("{", "is damaged"),
        ('{"schema": NaN}', "is damaged"),
        ('{"schema": 1e999}', "1e999 is too large a number"),
        ('{"schema": "\\ud800"}', "is damaged"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "recursion limit"),
        ('{"schema": ' + "9" * 6000 + "}", "is damaged"),
        ('{"files": 1, "files": 2}', "the key 'files' stands there twice"),
        ("{}", "has schema None"),
    ],
)
def test_text_that_is_no_manifest(folder, text, expected):
    (folder / FILE_NAME).write_text(text, "utf-8")
    assert expected in says(folder)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_another_encoding_is_damage(folder, encoding):
    text = (folder / FILE_NAME).read_text("utf-8").replace('"tiny"', '"tinÿ"')
    (folder / FILE_NAME).write_bytes(text.encode(encoding))
    assert "is damaged" in says(folder)


def test_a_huge_manifest_is_not_read(folder):
    with (folder / FILE_NAME).open("wb") as f:
        f.truncate(MAX_BYTES + 1)
    assert "is larger than 32 MiB" in says(folder)
    (folder / FILE_NAME).write_text('{"schema": [' + "[]," * 1_000_000 + "[]]}", "utf-8")
    assert "more than 500,000 lists, objects and keys" in says(folder)


@pytest.mark.parametrize(
    "path,value",
    [
        ("model", "other"),
        ("labels.0.label", "shark"),
        ("preprocess.mean", [0.5, 0.5, 0.5]),
        ("preprocess.interpolation", "nearest"),
        ("golden.0.logits.tiny_int8.tflite", [0.0] * 10),
        ("files.0.precision", "float32"),
        ("checkpoint.weights", "1" * 64),
        ("accuracy", {"images": 10}),
        ("note", "unknown"),
        ("parts", []),
        ("digest", "0" * 64),
    ],
)
def test_an_edit_by_hand_shows(folder, path, value):
    values = read_manifest(folder)
    put(values, path, value)
    (folder / FILE_NAME).write_text(json.dumps(values), "utf-8")
    assert "was changed after it was written (its digest differs)" in says(folder)


def test_layout_of_the_text_is_no_change(folder):
    values = read_manifest(folder)
    text = json.dumps(dict(reversed(values.items())), indent=4)
    (folder / FILE_NAME).write_text(text, "utf-8")
    assert load_bundle(folder).values == values


def test_unknown_keys_are_let_through_as_in_the_apps(folder):
    values = read_manifest(folder)
    values |= {"licence": "Apache-2.0", "labels": [{**e, "more": [1]} for e in values["labels"]]}
    resign(folder, values)
    assert load_bundle(folder).values["licence"] == "Apache-2.0"


def test_a_bundle_without_a_digest_is_an_older_one(folder):
    values = read_manifest(folder)
    del values["digest"], values["parts"]
    resign(folder, values)
    assert "an older mobilemod exported it; export again" in says(folder)


FILES = ("tiny_int8.tflite", "golden/1.png", "labels.txt")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert f"{name} is not the file of its manifest (sha256 differs)" in says(folder)
    with pytest.raises(UserError, match="sha256 differs"):
        load_bundle(folder, verify=False).file(name)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_and_a_missing_file_are_named(folder, name):
    size = (folder / name).stat().st_size
    os.truncate(folder / name, 10)
    text = says(folder)
    assert f"{name} is not the file of its manifest" in text and f"10 bytes for {size:,}" in text
    (folder / name).unlink()
    assert f"{name} is missing" in says(folder)


def test_links_out_and_pipes_are_not_read(folder, tmp_path):
    path = folder / "labels.txt"
    outside = Path(shutil.copy(path, tmp_path / "labels.txt"))
    path.unlink()
    path.symlink_to(outside)
    assert "labels.txt is a link out of the bundle" in says(folder)
    path.unlink()
    path.symlink_to("loop.txt")
    (folder / "loop.txt").symlink_to("labels.txt")
    assert "labels.txt is missing" in says(folder)
    path.unlink()
    os.mkfifo(path)
    assert "labels.txt is no plain file" in says(folder)
    path.unlink()
    # Inside, a link is as good as the file.
    shutil.copy(outside, folder / "kept.txt")
    path.symlink_to("kept.txt")
    load_bundle(folder)


def test_a_package_is_checked_to_its_last_file(folder, tmp_path):
    package = folder / "net.mlpackage"
    (package / "Data").mkdir(parents=True)
    for name in ("Manifest.json", "Data/weight.bin"):
        (package / name).write_bytes(name.encode())
    values = read_manifest(folder)
    entry = {**copy.deepcopy(values["files"][0]), "file": package.name, "target": "coreml"}
    for golden in values["golden"]:
        golden["logits"][package.name] = [0.0] * 10
    size = sum(p.stat().st_size for p in package.rglob("*") if p.is_file())
    values["files"].append({**entry, "sha256": file_sha256(package), "bytes": size})
    resign(folder, values)
    load_bundle(folder)
    (package / "Data" / "weight.bin").write_bytes(b"Data/weight.bim")
    assert "net.mlpackage is not the file of its manifest" in says(folder)
    (package / "Data" / "weight.bin").write_bytes(b"Data/weight.bin")
    shutil.move(package / "Data", tmp_path / "Data")
    (package / "Data").symlink_to(tmp_path / "Data")
    assert "is a link out of the bundle" in says(folder)


def test_a_file_that_the_manifest_doesnt_name_is_not_read(folder):
    (folder / "prepared.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"names no prepared\.safetensors"):
        load_bundle(folder).file("prepared.safetensors")


def test_accuracy_renews_the_digest_and_not_the_identity(folder):
    before = load_bundle(folder)
    record_accuracy(before, {"images": 3})
    after = load_bundle(folder)
    assert after.manifest.accuracy == {"images": 3}
    assert after.identity == before.identity
    assert after.values["digest"] != before.values["digest"]
    # Another bundle at the same place keeps its own.
    write_manifest(folder, {**after.values, "model": "other"})
    with pytest.raises(UserError, match="became another bundle while it was measured"):
        record_accuracy(before, {"images": 4})
    assert load_bundle(folder).manifest.accuracy == {"images": 3}


def test_a_bad_manifest_is_not_written(folder):
    values = read_manifest(folder)
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(UserError, match=r"labels\[0\]\.id: .*nothing was written"):
        seal_bundle(folder, {**values, "labels": [{"id": "\udcff", "label": "x"}]})
    assert (folder / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    "name,expected",
    [
        ("a\nb", r"labels\[1\]\.id: must hold no control"),
        ("\udcff", r"\[1\]\.id"),
        ("a", "'a' .* twice"),
    ],
)
def test_names_of_classes_are_looked_at_before_an_export(name, expected):
    check_labels([{"id": "a", "label": "a"}, {"id": "é 漢", "label": "a"}])
    with pytest.raises(UserError, match=f"{expected}.*rename the class"):
        check_labels([{"id": "a", "label": "a"}, {"id": name, "label": "b"}])


def test_a_manifest_of_something_else_makes_no_bundle(folder):
    (folder / FILE_NAME).write_text('{"name": "a web app", "icons": []}', "utf-8")
    assert bundle_around(folder / "tiny_int8.tflite") is None
    assert main(["inspect", str(folder / "tiny_int8.tflite")]) == 0


def test_a_copy_of_some_files_is_a_bundle_of_its_own(folder, tmp_path):
    bundle = load_bundle(folder)
    (tmp_path / "copy").mkdir()
    values = bundle.part(["tiny_int8.tflite"])
    write_manifest(tmp_path / "copy", values)
    assert "golden/0.png is missing" in says(tmp_path / "copy")
    shutil.copytree(folder / "golden", tmp_path / "copy" / "golden")
    shutil.copy(folder / "tiny_int8.tflite", tmp_path / "copy")
    assert [e.file for e in load_bundle(tmp_path / "copy").manifest.files] == ["tiny_int8.tflite"]


def test_a_record_that_was_changed_is_not_read(tmp_path):
    path = tmp_path / "record.json"
    record = sealed({"drop": 0.25, "none": None, "text": "é"})
    path.write_text(json.dumps(record), "utf-8")
    assert read_sealed(path, "again") == record
    for text in (json.dumps({**record, "drop": 0.2}), "{", "[]", '{"drop": 0.25}'):
        path.write_text(text, "utf-8")
        with pytest.raises(UserError, match=r"record\.json .*again"):
            read_sealed(path, "again")
