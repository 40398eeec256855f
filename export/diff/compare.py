"""Where two model files of one network disagree on an image: tensor by tensor, and the first op."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.bundle_parts import OpenedBundle
from export.diff.cause import Cause, find_cause, inherited, op_kind
from export.diff.named import PROGRAM, NamedTaps, TappedTensor, difference
from export.diff.parameters import parameter_differences
from export.diff.rules import exactness
from export.diff.taps import BundleTaps
from export.model_explorer import float_reasons, write_differences
from export.quiet import quiet
from export.targets.target import target_of_file
from mobilemod.data.image_file import DamagedImage
from mobilemod.data.imagefolder import load_pixels
from mobilemod.errors import UserError, shown
from mobilemod.evaluation.runs import SCORES
from mobilemod.files import file_sha256
from mobilemod.manifest import FILE_NAME, Bundle, bundle_around, load_bundle
from mobilemod.progress import progress
from mobilemod.targets import suffix_of
from mobilemod.tasks import task_field

SCHEMA = "mobilemod/diff/1"
Run = Callable[[np.ndarray], np.ndarray]
Tensors = Mapping[str, TappedTensor]


@dataclass(frozen=True)
class DiffConfig:
    """Two files, or a file and the word "program", on images.

    bundle: whose network they hold; None is the folder that a file lies in. exact: also compare
    every op with its exact result. model_explorer: one of the files, and where node data over it
    goes.
    """

    a: Path
    b: Path
    images: tuple[Path, ...]
    bundle: Path | None = None
    exact: bool = False
    model_explorer: tuple[Path, Path] | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise UserError("no image: give --image FILE")
        if self.a.name == PROGRAM:
            raise UserError(f"{PROGRAM!r} can only stand second: FILE {PROGRAM}")


def diff_files(config: DiffConfig) -> dict[str, Any]:
    """The record of the comparison; `UserError` for bad input."""
    bundle = _bundle(config)
    images = [_image(path, bundle) for path in config.images]
    torch.set_num_threads(1)
    network = BundleTaps(bundle)
    a = network.file(config.a)
    b = network.program(a.form, a.int8) if _is_program(config.b) else network.file(config.b)
    a.label, b.label = _labels(config.a, config.b)
    comparison = _Comparison(a, b, (_run(a, config.a), _run(b, config.b)), bundle)
    pairs = list(zip(config.images, images, strict=True))
    results = [
        {"image": str(path), **comparison.image(x, config.exact)}
        for path, x in progress(pairs, "comparing", len(pairs), "image")
    ]
    # Codes are read by several ops: a wrong scale of theirs is listed where it bears first.
    found = {p.parameter: asdict(p) for p in reversed(comparison.parameters)}
    record = {
        "schema": SCHEMA,
        **task_field(bundle.manifest.task),
        "model": bundle.manifest.model,
        "a": _described(a, config.a),
        "b": _described(b, config.b),
        "only_in_a": [name for name in a.names if name not in b.names],
        "only_in_b": [name for name in b.names if name not in a.names],
        "parameters": list(found.values())[::-1],
        "images": results,
    }
    if config.model_explorer is not None:
        file, out = config.model_explorer
        named = a if file == config.a else b
        reasons = float_reasons(network.opened, named.form) if named.int8 else {}
        write_differences(record, named, file, out, reasons)
    return record


def _is_program(path: Path) -> bool:
    return str(path) == PROGRAM


def _bundle(config: DiffConfig) -> Bundle:
    """The bundle that was given, or the one that a file lies in."""
    paths = [p for p in (config.a, config.b) if not _is_program(p)]
    for path in paths:
        if not path.exists():
            raise UserError(f"no such model file: {path}")
        target_of_file(path)
    around = [(path, bundle_around(path)) for path in paths]
    for path, bundle in around:
        if bundle is not None and path.name in bundle.hashes:
            bundle.file(path.name)
    if config.bundle is not None:
        around.append((config.bundle, load_bundle(config.bundle, verify=False)))
    for path, bundle in around:
        if bundle is not None and bundle.manifest.answer != SCORES:
            raise UserError(
                f"{path}: not supported: its bundle's files give {bundle.manifest.answer}, which "
                "tell too little; export with --answer scores, the rest is the same"
            )
    if config.bundle is not None:
        return around[-1][1]
    bundles = [bundle for _, bundle in around if bundle is not None]
    if not bundles:
        raise UserError(
            f"{config.a} lies in no bundle (no {FILE_NAME} of one beside it); give --bundle DIR"
        )
    weights = {b.manifest.checkpoint.weights for b in bundles}
    if len(weights) > 1:
        raise UserError(
            f"{config.a} and {config.b} are files of different networks: "
            f"{' and '.join(str(b.folder / FILE_NAME) for b in bundles)} name different checkpoints"
        )
    return bundles[0]


def _image(path: Path, bundle: Bundle) -> np.ndarray:
    """float32 (1, 3, H, W), as the bundle's files take it."""
    try:
        pixels = load_pixels(path, bundle.preprocess)
    except DamagedImage as error:
        raise UserError(f"{shown(path)}: cannot be read as an image: {error}") from None
    return bundle.preprocess.normalize(pixels[None])


def _labels(a: Path, b: Path) -> tuple[str, str]:
    """The shortest names that tell two files apart."""
    if suffix_of(a) != suffix_of(b):
        return suffix_of(a), suffix_of(b) or PROGRAM
    return (a.name, b.name) if a.name != b.name else (str(a), str(b))


def _run(named: NamedTaps, path: Path) -> Run:
    """What maps an image to the outputs of the file as it is, or of the program."""
    if named.taps.as_is:
        return named.outputs
    with quiet():
        return target_of_file(path).load(path).run


def _described(named: NamedTaps, path: Path) -> dict[str, Any]:
    return {
        "label": named.label,
        "file": None if _is_program(path) else path.name,
        "sha256": None if _is_program(path) else file_sha256(path),
        "target": named.taps.graph.target,
        "precision": "int8" if named.int8 else "float16" if named.half else "float32",
        "runner": named.taps.description,
    }


class _Comparison:
    """Two files side by side; parameters: where theirs differ."""

    def __init__(self, a: NamedTaps, b: NamedTaps, runs: tuple[Run, Run], bundle: Bundle):
        self.a, self.b, self.runs = a, b, runs
        self.task, self.labels = bundle.task, bundle.label_names
        self.last = OpenedBundle(bundle).canonical.output
        self.names = [name for name in a.names if name in b.names]
        self.kinds = {name: op_kind(a, name, set(self.names)) for name in self.names}
        self.parameters = parameter_differences(a, b, self.names)

    def image(self, x: np.ndarray, judge: bool) -> dict[str, Any]:
        """One image: both files as they run, and `b` with every tensor from `a`.

        judge: each file's ops beside their exact results, too.
        """
        values, others = (n.tensors(x, self.names) for n in (self.a, self.b))
        forced = self.b.tensors(x, self.names, values)
        rows = []
        for name, kind in self.kinds.items():
            coded, count = values[name].scale is not None, values[name].values.size
            row = {"tensor": name, "op": kind, "codes": coded, "count": count}
            row |= asdict(difference(values[name], others[name]))
            rows.append(row | {"own": asdict(difference(values[name], forced[name]))})
        differing = [row for row in rows if row["share"] > 0]
        adding = [row for row in rows if row["own"]["sqnr_db"] is not None]
        chosen = {
            "first": next(iter(differing), None),
            "first_codes": next((r for r in differing if r["codes"]), None),
            "most": min(adding, key=lambda row: row["own"]["sqnr_db"], default=None),
        }
        parts = {}
        for key, row in chosen.items():
            cause = None if row is None else self._cause(row, x, values, others, forced)
            parts[key] = cause and {"tensor": row["tensor"], "op": row["op"], **asdict(cause)}
        outputs = [run(x) for run in self.runs]
        tapped = [tensors[self.last].real[0] for tensors in (values, others)]
        same = [
            np.allclose(t.reshape(o.shape), o, rtol=1e-3, atol=1e-6)
            for t, o in zip(tapped, outputs, strict=True)
        ]
        return {
            "tensors": rows,
            **parts,
            "ops": _by_op(rows),
            "exact": {
                "a": exactness(self.a, x, values, self.kinds),
                "b": exactness(self.b, x, others, self.kinds),
            }
            if judge
            else None,
            "undisturbed": all(same),
            **self.task.answered(dict(zip("ab", outputs, strict=True)), self.labels),
        }

    def _cause(
        self,
        row: Mapping[str, Any],
        x: np.ndarray,
        values: Tensors,
        others: Tensors,
        forced: Tensors,
    ) -> Cause:
        name = row["tensor"]
        if row["own"]["share"] == 0:
            return inherited(self.a, self.b, name, x, values, others)
        here = [p for p in self.parameters if p.tensor == name]
        return find_cause(self.a, self.b, name, x, values, forced[name], here)


def _by_op(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each kind of op adds of its own, over its tensors: the mean share, the extremes."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["op"], row["codes"]].append(row["own"])
    return [
        {
            "op": op,
            "codes": codes,
            "tensors": len(own),
            "share": sum(o["share"] for o in own) / len(own),
            "largest": max(o["largest"] for o in own),
            "sqnr_db": min((o["sqnr_db"] for o in own if o["sqnr_db"] is not None), default=None),
        }
        for (op, codes), own in groups.items()
    ]
