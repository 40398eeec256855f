"""Rows of an accuracy comparison: our files from a bundle, the others from their routes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure.answers import EXACT, EXACT_OPTION, answer
from benchmarks.measure.int8_share import int8_share
from benchmarks.routes.network import CalibratedNetwork
from benchmarks.routes.plain_routes import ROUTES, build
from export.bundle import ExportConfig, export_bundle
from export.measure.validation import candidates, predict, read_validation_images
from mobilemod.data.imagefolder import ImageFolder
from mobilemod.errors import UserError
from mobilemod.evaluation.accuracy import Drop, Predictions
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.manifest import Bundle, load_bundle
from mobilemod.results.schema import json_ready
from mobilemod.results.table import drop_text
from mobilemod.tasks.classification import TASK
from mobilemod.tasks.classification.accuracy import top_k

OURS = "mobilemod"


@dataclass(frozen=True)
class AccuracyRow:
    """One file's answers against the float network on the same images, or why there are none.

    logits: float32 (N, K). int8: share of convolution and linear multiply-accumulates, 0..1,
    None where it isn't known.
    """

    key: str
    tool: str
    suffix: str
    runtime: str = ""
    int8: float | None = None
    logits: np.ndarray | None = None
    top1: float | None = None
    drop: Drop | None = None
    sqnr: float | None = None
    reason: str = ""

    @property
    def ours(self) -> bool:
        """Whether this project made the file."""
        return self.tool == OURS


@dataclass(frozen=True)
class Judge:
    """The float network's answers on the images that all rows are judged on.

    kept: the images of `folder` that could be read; targets: int (N,), their classes.
    """

    bundle: Bundle
    folder: ImageFolder
    kept: list[int]
    targets: np.ndarray
    reference: Predictions

    def row(self, key: str, tool: str, path: Path, logits: np.ndarray, runtime: str) -> AccuracyRow:
        """A row of answers, float32 (N, K)."""
        return AccuracyRow(
            key,
            tool,
            path.suffix,
            runtime,
            int8_share(path),
            logits,
            top_k(logits, self.targets, 1),
            TASK.drop(self.reference.outputs, logits, self.targets),
            sqnr_db(self.reference.outputs, logits),
        )


def export(name: str, data: Path, out: Path, checkpoint: Path | None = None) -> Bundle:
    """Our files for every target by the default recipe, calibrated on `data`."""
    export_bundle(ExportConfig(name, out, checkpoint, data))
    return load_bundle(out)


def our_rows(bundle: Bundle, data: Path, limit: int | None) -> tuple[Judge, list[AccuracyRow]]:
    """The judge, and a row for each int8 file of the bundle."""
    folder = read_validation_images(bundle, data, limit)
    names = [c for c in candidates(bundle) if c.role in ("reference", "int8")]
    answers = predict(bundle, folder, names)
    reference, *files = answers.predictions[None]
    judge = Judge(bundle, folder, answers.kept, folder.targets[answers.kept], reference)
    rows = []
    for p in files:
        if p.file is not None:
            path = bundle.folder / p.file
            key = f"{OURS}-{path.suffix[1:]}"
            rows.append(judge.row(key, OURS, path, p.outputs, p.runner or ""))
    if not rows:
        raise UserError(f"{bundle.folder} holds no int8 file; export it again")
    return judge, rows


def peer_row(name: str, network: CalibratedNetwork, judge: Judge, how: str = "") -> AccuracyRow:
    """The row of a route's file; how: `EXACT` or "", see `answer`."""
    route = ROUTES[name]
    key = f"{name}-{how}" if how else name
    tool = route.tool + (f", {EXACT_OPTION}" if how == EXACT else "")
    built = build(route, network)
    if built.path is None:
        return AccuracyRow(key, tool, route.suffix, reason=built.reason)
    found = answer(built.path, judge.folder, judge.bundle.preprocess, how)
    if found.logits is None:
        return AccuracyRow(key, tool, route.suffix, reason=found.reason)
    if found.kept != judge.kept:
        raise UserError(f"{judge.folder.root}: the images changed while they were read; run again")
    return judge.row(key, tool, built.path, found.logits, found.runtime)


def title(row: AccuracyRow) -> str:
    """ "ExecuTorch .pte", for people."""
    return f"{row.tool} {row.suffix}"


def percent(share: float | None) -> str:
    """A share 0..1 in percent."""
    return "–" if share is None else f"{100 * share:.1f}"


def decibels(value: float | None) -> str:
    """An SQNR."""
    return "–" if value is None or math.isnan(value) else f"{value:.1f}"


def rows_table(rows: Sequence[AccuracyRow]) -> list[list[str]]:
    """One line per row that has answers, in the order given."""
    table = [["file", "int8 MACs %", "top-1 %", "drop", "95 %", "lost/won", "SQNR dB", "run by"]]
    for r in rows:
        if r.drop is not None:
            table.append(
                [title(r), percent(r.int8), f"{r.top1:.2f}", *drop_text(dataclasses.asdict(r.drop))]
                + [f"{r.drop.lost}/{r.drop.won}", decibels(r.sqnr), r.runtime]
            )
    return table


def row_record(row: AccuracyRow) -> dict[str, Any]:
    """A row's JSON values, without its logits."""
    return json_ready(
        {
            "key": row.key,
            "tool": row.tool,
            "suffix": row.suffix,
            "reason": row.reason or None,
            "runtime": row.runtime,
            "int8_share": row.int8,
            "top1_percent": row.top1,
            "drop": row.drop,
            "sqnr_db": row.sqnr,
        }
    )
