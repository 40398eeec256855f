"""Manifests of bundles that tests make: a valid one, and the way to sign a changed one anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilemod.files import file_sha256, write_json
from mobilemod.manifest import FILE_NAME, SCHEMA
from mobilemod.sealed import sealed

if TYPE_CHECKING:
    from mobilemod.forms.canonical import Canonical

NO_HASH = "0" * 64
# What an export counts in a file; here of one that nothing is known about.
AUDIT = {
    "macs": 0, "int8_macs": 0, "int8_share": 0.0, "matmul_macs": 0, "int8_matmul_macs": 0,
    "partitions": None, "outside": {}, "quantize_ops": 0, "dequantize_ops": 0, "transposes": 0,
    "quantized": {}, "moves": {}, "float_ops": {},
}  # fmt: skip


def manifest_values(
    model: str, labels: Sequence[dict[str, str]], preprocess: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """Of a bundle without any file, for `seal_bundle`; more: other values of top-level keys."""
    return {
        "schema": SCHEMA,
        "model": model,
        "num_classes": len(labels),
        "labels": list(labels),
        "preprocess": preprocess,
        "recipe": {"name": "cpu", "file": "recipe.json"},
        "checkpoint": checkpoint(NO_HASH),
        "calibration": {"origin": "drawn", "images": 0, "sha256": "none", "weights": NO_HASH},
        "tools": {},
        "files": [],
        "golden": [],
        "accuracy": None,
        **more,
    }


def checkpoint(weights: str) -> dict[str, str]:
    """The manifest's entry of a checkpoint whose weights have this digest."""
    return {"file": "none", "sha256": NO_HASH, "weights": weights}


def write_float(folder: Path, canonical: Canonical) -> str:
    """The float network of a bundle as an export writes it; the digest of its weights."""
    import torch

    from export.bundle_parts import FORM_FILE, REFERENCE_FILE
    from mobilemod.networks.checkpoints import save_checkpoint
    from quantization.calibration import weights_digest

    state = canonical.state()
    save_checkpoint(folder / REFERENCE_FILE, state, {}, torch.float32)
    write_json(folder / FORM_FILE, canonical.to_dict())
    return weights_digest(state)


def model_entry(path: Path, target: str, precision: str) -> dict[str, Any]:
    """The manifest's entry of the model file at `path`."""
    return {
        "file": path.name,
        "target": target,
        "precision": precision,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "audit": AUDIT,
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """The values as they stand there."""
    return json.loads((folder / FILE_NAME).read_text("utf-8"))


def resign(folder: Path, values: Any) -> None:
    """Write any values as the manifest, with a digest that fits: for what only the schema finds."""
    if isinstance(values, dict) and "digest" in values:
        values = sealed(values)
    (folder / FILE_NAME).write_text(json.dumps(values), "utf-8")


def accept(folder: Path, name: str) -> None:
    """Take a changed file of the bundle for the manifest's own."""
    values = read_manifest(folder)
    for entry in (*values["files"], *values["parts"], *values["golden"]):
        if entry.get("file", entry.get("image")) == name:
            entry["sha256"] = file_sha256(folder / name)
            entry["bytes"] = (folder / name).stat().st_size
    resign(folder, values)
