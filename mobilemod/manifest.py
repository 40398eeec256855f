"""The manifest: what is shipped with a model, for apps, the harness and `mobilemod validate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.files import file_sha256, write_json

SCHEMA = "mobilemod/manifest/1"
FILE_NAME = "manifest.json"
REQUIRED = (
    "schema", "model", "num_classes", "labels", "preprocess", "recipe", "checkpoint",
    "calibration", "tools", "files", "golden", "accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder and its manifest's values."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of every model file in the bundle."""
        return Preprocess.from_dict(self.manifest["preprocess"])

    @property
    def label_ids(self) -> tuple[str, ...]:
        """Class folder names in output order."""
        return tuple(entry["id"] for entry in self.manifest["labels"])

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels for people, in output order."""
        return tuple(entry["label"] for entry in self.manifest["labels"])

    def model_files(self) -> list[dict[str, Any]]:
        """The manifest's entries of model files: file, target, precision, sha256, bytes."""
        return self.manifest["files"]


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Write `manifest.json` in one rename."""
    write_json(folder / FILE_NAME, values)


def load_bundle(folder: Path, verify: bool = True) -> Bundle:
    """The bundle in `folder`; with `verify`, every model file's hash is checked.

    Raises `UserError` for a folder without a manifest, a damaged manifest, a missing file and
    a file that isn't the one the manifest speaks of.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"{folder} is no bundle: it has no {FILE_NAME}; run 'mobilemod export'")
    try:
        values = json.loads(path.read_text("utf-8"))
        missing = [key for key in REQUIRED if key not in values]
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); export again") from None
    if missing or values["schema"] != SCHEMA:
        what = f"lacks {missing[0]!r}" if missing else f"has schema {values['schema']!r}"
        raise UserError(f"{path} {what}; expected {SCHEMA}; export again")
    bundle = Bundle(folder, values)
    for entry in bundle.model_files() if verify else ():
        file = folder / entry["file"]
        if not file.exists():
            raise UserError(f"{folder}: {entry['file']} is missing; export again")
        if file_sha256(file) != entry["sha256"]:
            raise UserError(f"{file} is not the file of its manifest (sha256 differs)")
    return bundle
