"""The files that are compared: ours from a bundle, the plain ones from their routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure.rounds import examine, measure
from benchmarks.measure.series import Spread, per_round, spread
from benchmarks.routes.network import CalibratedNetwork
from benchmarks.routes.plain_routes import INT8, MOBILE, ROUTES, Route, build
from mobilemod.closure import code_digest
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.files import file_sha256
from mobilemod.manifest import FILE_NAME, Bundle
from mobilemod.networks.checkpoints import save_checkpoint
from mobilemod.networks.registry import get_variant
from mobilemod.networks.synthetic import trained_like_state
from mobilemod.progress import progress
from mobilemod.tasks.classification import TASK as CLASSES
from mobilemod.tasks.task import Task
from quantization.calibration import cache_path, weights_digest

OURS = "mobilemod"
BUNDLE_TARGETS = ("executorch", "tflite")
RUNS = 3  # of a file in a round


@dataclass
class Candidate:
    """One row: a file with what was found out about it, or the reason why there is none.

    key: "mobilemod-tflite-int8" or the route's name. form: what the file was lowered from.
    recipe: that of a file of ours, where it is not the default one.
    times: thread count -> round -> runs, in milliseconds.
    """

    key: str
    tool: str
    precision: str
    suffix: str
    form: str
    path: Path | None = None
    reason: str = ""
    build_seconds: float = 0.0
    runtime: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    sqnr: float | None = None
    agreement: float | None = None
    times: dict[int, list[list[float]]] = field(default_factory=dict)
    recipe: str = ""

    @property
    def ours(self) -> bool:
        """Whether this project made the file."""
        return self.tool == OURS

    def spread(self, threads: int) -> Spread:
        """Of all runs with `threads` threads."""
        return spread(self.times[threads])

    def rounds(self, threads: int) -> np.ndarray:
        """Each round's median, milliseconds, (rounds,)."""
        return per_round(self.times[threads])


def our_candidates(bundle: Bundle, recipe: str = "") -> list[Candidate]:
    """The `.pte` and `.tflite` files of a bundle; of another recipe's the int8 ones alone."""
    found = []
    for entry in bundle.manifest.files:
        path, precision = bundle.folder / entry.file, entry.precision
        if path.suffix in (".pte", ".tflite") and (precision == INT8 or not recipe):
            key = "-".join(filter(None, (OURS, path.suffix[1:], precision, recipe)))
            row = Candidate(key, OURS, precision, path.suffix, MOBILE, path, recipe=recipe)
            found.append(row)
    if not found:
        raise UserError(f"{bundle.folder} holds no .pte and no .tflite; export it again")
    return sorted(found, key=lambda c: c.key)


def plain_candidates(network: CalibratedNetwork, skip: Sequence[str]) -> list[Candidate]:
    """A row for every route but the skipped ones, built or with a reason.

    skip: names of routes, or the beginnings of several up to a hyphen.
    """
    routes = [r for r in ROUTES.values() if r.shown and not _skipped(r, skip)]
    rows = []
    for route in progress(routes, "plain files", len(routes), "file"):
        built = build(route, network)
        rows.append(
            Candidate(
                route.name,
                route.tool,
                route.precision,
                route.suffix,
                route.form,
                built.path,
                built.reason,
                built.seconds,
            )
        )
    return rows


def check_skip(skip: Sequence[str]) -> None:
    """`UserError` where a name to skip is no route's."""
    for name in skip:
        if not any(_skipped(r, [name]) for r in ROUTES.values()):
            known = ", ".join(r.name for r in ROUTES.values() if r.shown)
            raise UserError(f"--skip {name}: no such route; known: {known}")


def _skipped(route: Route, skip: Sequence[str]) -> bool:
    return any(route.name == name or route.name.startswith(f"{name}-") for name in skip)


def time_all(
    rows: Sequence[Candidate], image: np.ndarray, threads: tuple[int, ...], count: int,
    patience: float,
) -> list[float]:  # fmt: skip
    """Time all files that run, in `count` rounds; cores that others kept busy, each round.

    image: float32 (1, 3, S, S). patience: minutes in which disturbed rounds are taken again.
    """
    timed = [row for row in rows if row.path is not None and not row.reason]
    paths = [row.path for row in timed if row.path is not None]
    rounds = measure(paths, image, threads, count, RUNS, 60 * patience)
    for i, row in enumerate(timed):
        row.times = {n: [r.runs[n][i] for r in rounds] for n in threads}
    return [r.others for r in rounds]


def examine_all(
    rows: list[Candidate], images: np.ndarray, expected: np.ndarray, task: Task = CLASSES
) -> None:
    """Fill in what each file consists of, and how near its outputs are to `expected`, (N, K) or
    maps (N, K, h, w)."""
    count = expected.shape[1]
    with_file = [row for row in rows if row.path is not None]
    for row in progress(with_file, "logits", len(with_file), "file"):
        assert row.path is not None
        quality = examine(row.path, images)
        row.facts, row.runtime, row.reason = quality.facts, quality.runtime, quality.reason
        if quality.logits is not None:
            found = as_expected(quality.logits, expected.shape)
            row.sqnr = sqnr_db(expected.reshape(len(found), -1), found.reshape(len(found), -1))
            row.agreement = task.agreement_percent(
                task.keep(expected, count), task.keep(found, count)
            )


def as_expected(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A file's outputs with maps channels first, as `shape` has them."""
    if found.shape != shape and np.moveaxis(found, -1, 1).shape == shape:
        return np.moveaxis(found, -1, 1)
    return found.reshape(shape)


def our_bundle(name: str, data: Path, recipe: str = "cpu", checkpoint: Path | None = None) -> Path:
    """The folder of the bundle of `name` for ExecuTorch and TFLite, exported into the cache.

    checkpoint: None for the bundled one where there is one, else for `drawn_checkpoint`.
    """
    from export.bundle import ExportConfig, export_bundle
    from export.lowering import made_by, tool_versions
    from export.source import bundled_checkpoint

    checkpoint = checkpoint or bundled_checkpoint(name) or drawn_checkpoint(name)
    modules = ("export.bundle", *(m for t in BUNDLE_TARGETS for m in made_by(t)))
    decided = (name, recipe, file_sha256(checkpoint), data.resolve(), tool_versions())
    out = cache_path("bundles", f"{decided} {code_digest(*modules)}", "")
    if not (out / FILE_NAME).exists():
        export_bundle(ExportConfig(name, out, checkpoint, data, BUNDLE_TARGETS, recipe))
    return out


def drawn_checkpoint(name: str) -> Path:
    """A checkpoint for 1,000 classes, drawn with a trained network's spread; the same each time."""
    state = trained_like_state(get_variant(name))
    path = cache_path("drawn", f"{name} {weights_digest(state)}", f"-{name}.safetensors")
    if not path.exists():
        save_checkpoint(path, state, {"model": name}, torch.float32)
    return path
