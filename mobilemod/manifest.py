"""The manifest: what is shipped with a model, for apps, the harness and `mobilemod validate`.

It names every file of the bundle that something is read from, with size and hash, and has a digest
of its own (`mobilemod.sealed`). Each reader takes its file through `Bundle.file`, which checks it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256, only_one, write_json
from mobilemod.sealed import KEY, check_seal, digest_of, sealed

if TYPE_CHECKING:
    from mobilemod.data.dataset import DataSet
    from mobilemod.data.imagefolder import ImageFolder
    from mobilemod.manifest_schema import Manifest, ModelFile
    from mobilemod.tasks.task import Task

SCHEMA = "mobilemod/manifest/1"
FILE_NAME = "manifest.json"
# More than 20,000 classes need; what is past it isn't parsed.
MAX_BYTES, MAX_VALUES = 32 << 20, 500_000
AGAIN = "export again, or copy the bundle again"
# What a measurement adds later: not part of what the bundle is.
MEASURED = ("accuracy",)
# What a bundle was made of, for the records of what is measured of it.
ORIGIN = ("recipe", "calibration", "checkpoint", "tools")


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder and its manifest.

    values: the manifest's JSON, also the keys that the schema doesn't know: what is hashed and
    written again. All else is read of `manifest`.
    """

    folder: Path
    values: dict[str, Any]
    manifest: Manifest

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of every model file in the bundle."""
        return Preprocess.from_dict(self.values["preprocess"])

    @property
    def label_ids(self) -> tuple[str, ...]:
        """What the outputs are called in data sets (class folders), in output order."""
        return tuple(label.id for label in self.manifest.labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels for people, in output order."""
        return tuple(label.label for label in self.manifest.labels)

    @property
    def task(self) -> Task:
        """What the network is for; `UserError` for a task that isn't known."""
        from mobilemod.tasks import get_task

        return get_task(self.manifest.task)

    def read(self, data: Path | DataSet, split: str) -> ImageFolder:
        """A split of `data` ("train", or "val" for what is measured) for this network.

        Raises `UserError` where the images aren't this network's.
        """
        return self.task.read(data, split, self.label_ids, self.manifest.num_classes)

    @property
    def origin(self) -> dict[str, Any]:
        """Recipe, calibration, checkpoint and tools, as JSON-ready values for a record."""
        return {key: self.values[key] for key in ORIGIN}

    @cached_property
    def identity(self) -> str:
        """The digest of the manifest without what was measured: equal before and after `validate`.

        It covers the hash of every file.
        """
        return digest_of(self.values, MEASURED)

    @cached_property
    def hashes(self) -> dict[str, tuple[str, int]]:
        """Path in the bundle -> (hex sha256, bytes) of every file of the manifest."""
        m = self.manifest
        named = [(golden.image, golden) for golden in m.golden]
        named += [(part.file, part) for part in (*m.files, *m.parts)]
        return {name: (hashed.sha256, hashed.bytes) for name, hashed in named}

    def model_file(self, name: str) -> ModelFile:
        """The manifest's entry of a model file; `UserError` where it has none."""
        for entry in self.manifest.files:
            if entry.file == name:
                return entry
        raise UserError(f"{self.folder / FILE_NAME} names no model file {name}; export again")

    def file(self, name: str) -> Path:
        """Where a file of the manifest lies, after a look at its size and hash.

        Raises `UserError` where the manifest doesn't name it, it is missing or changed, or a link
        leads out of the bundle.
        """
        if name not in self.hashes:
            raise UserError(f"{self.folder / FILE_NAME} names no {name}; export again")
        sha256, size = self.hashes[name]
        path, root = self.folder / name, self.folder.resolve()
        if not path.exists():
            raise UserError(f"{path} is missing; {AGAIN}")
        parts = [path, *path.rglob("*")] if path.is_dir() else [path]
        for part in parts:
            if not part.resolve().is_relative_to(root):
                raise UserError(f"{part} is a link out of the bundle; copy what it leads to")
            if not (part.is_file() or part.is_dir()):
                raise UserError(f"{part} is no plain file; {AGAIN}")
        found = sum(part.stat().st_size for part in parts if part.is_file())
        if found != size or file_sha256(path) != sha256:
            why = "sha256 differs" + (f", {found:,} bytes for {size:,}" if found != size else "")
            raise UserError(f"{path} is not the file of its manifest ({why}); {AGAIN}")
        return path

    def verify(self) -> None:
        """Check every file of the manifest; raises as `file`."""
        for name in self.hashes:
            self.file(name)

    def part(self, files: Collection[str]) -> dict[str, Any]:
        """Values for the manifest of a copy that holds these model files and the golden images."""
        kept = [e for e in self.values["files"] if e["file"] in files]
        return {**self.values, "files": kept, "parts": []}


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Write `manifest.json` with a new digest, in one rename; `UserError` for what none can be."""
    from mobilemod.manifest_schema import Manifest, checked

    values = json.loads(json.dumps(values))  # tuples as they are read back
    checked(Manifest, values, FILE_NAME, "nothing was written")
    write_json(folder / FILE_NAME, sealed(values))


def check_draft(values: dict[str, Any]) -> None:
    """Raises `UserError` for values that no manifest can hold, before any file is made."""
    from mobilemod.manifest_schema import Manifest, checked

    values = json.loads(json.dumps({**values, "parts": []}))
    checked(Manifest, values, FILE_NAME, "nothing was written; give another name")


def seal_bundle(folder: Path, values: dict[str, Any]) -> None:
    """Add size and hash of the golden images and of all other files in `folder`, and write.

    values: the manifest without `parts` and what golden images are checked by.
    """
    golden = [{**g, **_hashed(folder / g["image"])} for g in values["golden"]]
    named = {e["file"] for e in values["files"]} | {FILE_NAME}
    parts = [
        {"file": path.name, **_hashed(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in named
    ]
    write_manifest(folder, {**values, "golden": golden, "parts": parts})


def _hashed(path: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def record_accuracy(bundle: Bundle, accuracy: dict[str, Any]) -> None:
    """Write what was measured into the bundle's manifest, whose digest is renewed.

    Raises `UserError` where it has become another bundle since it was loaded.
    """
    with only_one(bundle.folder):
        require_same(load_bundle(bundle.folder, verify=False), bundle.identity)
        write_manifest(bundle.folder, {**bundle.values, "accuracy": accuracy})


def require_same(bundle: Bundle, identity: str) -> None:
    """Raises `UserError` where a bundle isn't the one of that identity."""
    if bundle.identity != identity:
        raise UserError(
            f"{bundle.folder} became another bundle while it was measured; run it again"
        )


def load_bundle(folder: Path, verify: bool = True) -> Bundle:
    """The bundle in `folder`; with `verify`, every file of the manifest is checked.

    Raises `UserError` for a folder without a manifest, a manifest that is damaged, was changed or
    doesn't fit its schema, and as `Bundle.file`.
    """
    from mobilemod.manifest_schema import Manifest, checked

    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"{folder} is no bundle: it has no {FILE_NAME}; run 'mobilemod export'")
    values = _read(path)
    if values.get("schema") != SCHEMA:
        raise UserError(f"{path} has schema {values.get('schema')!r:.60}; expected {SCHEMA}")
    if KEY not in values:
        raise UserError(f"{path} has no digest: an older mobilemod exported it; export again")
    manifest = checked(Manifest, values, str(path), AGAIN)
    check_seal(path, values, AGAIN)
    bundle = Bundle(folder, values, manifest)
    if verify:
        bundle.verify()
    return bundle


def bundle_around(file: Path) -> Bundle | None:
    """The bundle that a file lies in, unverified; None where there is none of ours."""
    path = file.parent / FILE_NAME
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    if SCHEMA.encode() not in path.read_bytes():
        return None
    return load_bundle(file.parent, verify=False)


def _read(path: Path) -> dict[str, Any]:
    from pydantic_core import from_json

    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB; {AGAIN}")
    try:
        data = path.read_bytes()
        if sum(map(data.count, (b"[", b"{", b":"))) > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} lists, objects and keys")
        # Refuses what Python's parser lets pass: NaN, half a surrogate pair, very deep nesting.
        from_json(data, allow_inf_nan=False)
        values = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {AGAIN}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is no JSON object; {AGAIN}")
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key[:60]!r} stands there twice")
        values[key] = value
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:60]} is too large a number")
    return value
